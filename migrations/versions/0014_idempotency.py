"""One home for idempotency keys, with fingerprints that give nothing away."""

from migrations.statements import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run_sql("0014_idempotency.sql")
