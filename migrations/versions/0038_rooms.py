"""What an account may have a share of can be given back and taken again in one batch, as a place in a room can."""

from migrations.statements import run_sql

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    run_sql("0038_rooms.sql")
