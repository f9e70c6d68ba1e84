"""Accounts that were erased, and have rooms to leave."""

from migrations.statements import run_sql

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    run_sql("0040_room_departures.sql")
