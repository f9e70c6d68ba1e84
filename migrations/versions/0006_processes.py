"""What time brings: processes with their timers, and the money that is owed back."""

from migrations.statements import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql("0006_processes.sql")
