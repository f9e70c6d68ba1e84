"""What the catalogue's search needs of Postgres."""

from migrations.statements import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql("0007_search.sql")
