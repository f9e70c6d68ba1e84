"""Events are kept as the text that they came as, and a batch of them goes to Postgres as columns."""

from migrations.statements import run_sql

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    run_sql("0041_append_columns.sql")
