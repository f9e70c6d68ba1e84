"""Wishes for a new password, until they have been looked into."""

from migrations.statements import run_sql

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run_sql("0026_reset_wishes.sql")
