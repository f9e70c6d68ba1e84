"""Unique keys and shares go to Postgres as columns, too."""

from migrations.statements import run_sql

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    run_sql("0042_append_shares.sql")
