"""An API key is made only while its account's stream ends with the very event that it was allowed on."""

from migrations.statements import run_sql

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    run_sql("0028_key_events.sql")
