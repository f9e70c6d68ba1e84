"""A batch of events goes to Postgres as columns."""

from migrations.statements import run_sql

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    run_sql("0041_append_columns.sql")
