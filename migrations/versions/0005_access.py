"""What access depends on beside a token: keys that take turns, the events that end it, API keys."""

from migrations.statements import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql("0005_access.sql")
