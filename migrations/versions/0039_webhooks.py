"""Webhooks to subscribers: who hears of what, and the outbox of what is sent."""

from migrations.statements import run_sql

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    run_sql("0039_webhooks.sql")
