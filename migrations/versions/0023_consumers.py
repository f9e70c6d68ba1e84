"""What workers serve, which event a checkpoint stands at, and the numbers of generations."""

from migrations.statements import run_sql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run_sql("0023_consumers.sql")
