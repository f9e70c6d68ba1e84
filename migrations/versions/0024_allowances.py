"""An append that gives no allowance back does not look for any."""

from migrations.statements import run_sql

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    run_sql("0024_allowances.sql")
