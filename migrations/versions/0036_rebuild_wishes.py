"""Rebuilds are asked for in rows, and tell there how far they are."""

from migrations.statements import run_sql

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    run_sql("0036_rebuild_wishes.sql")
