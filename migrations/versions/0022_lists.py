"""Read tables are kept in shape as they grow."""

from migrations.statements import run_sql

revision = "0022"
down_revision = "0020"


def upgrade() -> None:
    run_sql("0022_lists.sql")
