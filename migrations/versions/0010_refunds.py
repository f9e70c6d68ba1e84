"""Refunds as calls to the payment provider: when the next one is due, who is at it, and what came of it."""

from migrations.statements import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_sql("0010_refunds.sql")
