"""The tables of the schema as SQLAlchemy Core tables: the one picture of what the migrations make.

Statements in Core are written over these. The migrations make the tables, in SQL; ``weir migrate --check``
(:mod:`infra.postgres.schema_drift`) says where the two differ. The tables of read models are not among them: each
generation has one, made by its projection's declaration.
"""

from infra.postgres.tables import consumers, identity, log, outboxes, webhooks
from infra.postgres.tables.columns import METADATA

__all__ = ["METADATA", "consumers", "identity", "log", "outboxes", "webhooks"]
