"""What many requests of a batch rely on is confirmed once for all of them."""

from migrations.statements import run_sql

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    run_sql("0037_shared_premises.sql")
