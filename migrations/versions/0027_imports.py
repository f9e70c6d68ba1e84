"""An import knows what it was begun with, and an upload that was given up keeps its row until its file is gone."""

from migrations.statements import run_sql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    run_sql("0027_imports.sql")
