"""The log takes only rows that can be read."""

from migrations.statements import run_sql

revision = "0044"
down_revision = "0043"


def upgrade() -> None:
    run_sql("0044_readable_rows.sql")
