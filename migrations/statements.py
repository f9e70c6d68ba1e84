"""Runs one file of SQL statements, as it stands, in the transaction of the running migration."""

from pathlib import Path

from alembic import op

FOLDER = Path(__file__).parent / "sql"


def run_sql(name: str) -> None:
    """Runs ``migrations/sql/<name>`` whole, all or nothing.

    The text goes to the driver untouched, because a prepared statement could hold only one command. SQLAlchemy begins
    its transaction with the first statement of its own, so that one comes first.
    """
    bind = op.get_bind()
    bind.exec_driver_sql("SELECT 1")
    text = (FOLDER / name).read_text(encoding="utf-8")
    bind.connection.dbapi_connection.run_async(lambda driver: driver.execute(text))  # type: ignore[union-attr]
