"""What an account may have at once, checked by the append; API keys end as sessions do."""

from migrations.statements import run_sql

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run_sql("0015_allowances.sql")
