"""A checkpoint says which memory it has refreshed, and a log that was put back has another history."""

from migrations.statements import run_sql

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    run_sql("0029_eras.sql")
