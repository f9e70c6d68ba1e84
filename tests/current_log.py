"""The log that a test's processes serve."""

from typing import Final
from uuid import UUID

from infra.current_log import CurrentLog
from infra.database import Database
from infra.log import Log, identify

LOG: Final = Log(log_id=UUID(int=1), shards=4, history=UUID(int=2))
"""Where any log will do."""


async def current_log(database: Database) -> CurrentLog:
    """The one behind the database, as a process that starts finds it."""
    async with database.acquire() as connection:
        return CurrentLog.behind(database, await identify(connection))
