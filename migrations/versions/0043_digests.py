"""Unique keys are stored as digests, and as nothing else."""

from migrations.statements import run_sql

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    run_sql("0043_digests.sql")
