"""Files of products on their way into the catalogue."""

from migrations.statements import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql("0009_imports.sql")
