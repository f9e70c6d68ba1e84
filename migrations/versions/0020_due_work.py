"""One shape for all due work, mails that are tried for days, refunds that are asked again after a refusal."""

from migrations.statements import run_sql

revision = "0020"
down_revision = "0015"


def upgrade() -> None:
    run_sql("0020_due_work.sql")
