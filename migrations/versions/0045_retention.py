"""What is kept for a while is found by an index when its time is over."""

from migrations.statements import run_sql

revision = "0045"
down_revision = "0044"


def upgrade() -> None:
    run_sql("0045_retention.sql")
