"""Rows of the log as no append leaves them: of a log that is older than its guards, or whose disk has turned a bit."""

from typing import Final

from infra.postgres.pool import Database

_UNGUARDED: Final = """
DO $$ DECLARE guard name; BEGIN
    FOR guard IN SELECT conname FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE events DROP CONSTRAINT %I', guard);
    END LOOP;
END $$
"""


async def spoil(database: Database, position: int, column: str, value: str) -> None:
    """Changes one column of the event at a position, whatever the table has against it."""
    await database.execute(_UNGUARDED)
    await database.execute(f"UPDATE events SET {column} = {value} WHERE position = {position}")
