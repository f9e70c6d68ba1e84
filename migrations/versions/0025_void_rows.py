"""Rows that an account's events make void know which events are older than they are."""

from migrations.statements import run_sql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    run_sql("0025_void_rows.sql")
