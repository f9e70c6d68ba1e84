"""State that is no event: credentials, signing keys; and the mail ledger with the addresses it needs."""

from migrations.statements import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql("0003_secrets_and_mail.sql")
