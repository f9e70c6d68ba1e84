"""The log that a test's processes serve."""

from typing import Final
from uuid import UUID

from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.postgres.pool import Database

LOG: Final = EventLog(log_id=UUID(int=1), shards=4, history=UUID(int=2), codec=CODEC)
"""Where any log will do."""


async def current_log(database: Database) -> CurrentLog:
    """The one behind the database, as a process that starts finds it."""
    async with database.acquire() as connection:
        return CurrentLog.behind(database, await identify(connection, CODEC))
