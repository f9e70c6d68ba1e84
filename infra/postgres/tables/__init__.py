"""The tables of the schema as SQLAlchemy Core tables: the one picture of what the migrations make.

Statements in Core are written over these. The migrations make the tables, in SQL; ``weir migrate --check``
(:mod:`infra.postgres.schema_drift`) says where the two differ. The tables of read models are not among them: each
generation has one, made by its projection's declaration.
"""

from infra.postgres.tables.columns import METADATA
from infra.postgres.tables.consumers import (
    checkpoints,
    generations,
    leases,
    parked,
    processes,
    projections,
    rebuild_wishes,
    timers,
    workers,
)
from infra.postgres.tables.identity import (
    api_keys,
    credentials,
    links,
    refresh_tokens,
    reset_wishes,
    server_secret,
    sessions,
    signing_keys,
)
from infra.postgres.tables.log import allowances, claims, commands, ends_access, events, log_head, snapshots
from infra.postgres.tables.outboxes import (
    image_files,
    import_is_unfinished,
    imports,
    mail_failed,
    mail_is_owed,
    mail_ledger,
    mail_recipients,
    refund_ledger,
)

__all__ = [
    "METADATA",
    "allowances",
    "api_keys",
    "checkpoints",
    "claims",
    "commands",
    "credentials",
    "ends_access",
    "events",
    "generations",
    "image_files",
    "import_is_unfinished",
    "imports",
    "leases",
    "links",
    "log_head",
    "mail_failed",
    "mail_is_owed",
    "mail_ledger",
    "mail_recipients",
    "parked",
    "processes",
    "projections",
    "rebuild_wishes",
    "refresh_tokens",
    "refund_ledger",
    "reset_wishes",
    "server_secret",
    "sessions",
    "signing_keys",
    "snapshots",
    "timers",
    "workers",
]
