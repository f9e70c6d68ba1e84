"""The sku of a product that is no longer sold is free."""

from migrations.statements import run_sql

revision = "0033"
down_revision = "0029"


def upgrade() -> None:
    run_sql("0033_skus.sql")
