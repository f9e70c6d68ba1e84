"""The server's secrets are wrapped."""

from migrations.statements import run_sql

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    run_sql("0035_wrapped_secrets.sql")
