"""Sessions with their refresh tokens, links in mails, and the secret that their tokens come from."""

from migrations.statements import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql("0004_sessions_and_links.sql")
