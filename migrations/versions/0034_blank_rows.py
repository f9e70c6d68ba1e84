"""Imports count the rows in which nothing stands."""

from migrations.statements import run_sql

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    run_sql("0034_blank_rows.sql")
