"""The log and what is written by the same append: its head, unique claims, idempotency keys.

Statements stand in ``sql/`` beside this file, so that they read as SQL.
"""

from migrations.statements import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql("0001_log.sql")
    run_sql("0001_append.sql")
