"""Who reads the log and how far: leases, checkpoints, generations of read models, parked streams."""

from migrations.statements import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql("0002_consumers.sql")
