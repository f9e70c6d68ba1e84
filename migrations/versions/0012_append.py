"""Events as the text that came, an append over arrays that compares which event a stream ends with, and no hot row."""

from migrations.statements import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql("0012_append.sql")
