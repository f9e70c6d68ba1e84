"""The start of every process: wait for Postgres for a while, insist on its schema, and learn which log it serves."""

import asyncio
from typing import Final

import structlog

from infra.concurrency.backoff import Pauses
from infra.errors import Rejected, Unavailable
from infra.eventsourcing.codec import EventCodec
from infra.eventsourcing.event_log import EventLog, identify
from infra.postgres import schema_version
from infra.postgres.pool import Database

PATIENCE_SECONDS: Final = 30.0
"""How long a starting process waits for Postgres before it gives up and leaves it to its supervisor."""

_log = structlog.get_logger("weir.startup")


async def open_log(database: Database, codec: EventCodec, *, patience: float = PATIENCE_SECONDS) -> EventLog:
    """The log behind the database, once Postgres answers and its schema is this release's.

    Raises :class:`~infra.errors.UnknownSchema` and :class:`~infra.errors.Rejected`, which no wait mends, and
    :class:`~infra.errors.Unavailable` after ``patience`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    pauses = Pauses(first=0.1)
    while True:
        try:
            await schema_version.check(database)
            async with database.acquire() as session:
                return await identify(session, codec)
        except Rejected:
            raise
        except Unavailable as away:
            if loop.time() > deadline:
                raise
            _log.warning("waiting for Postgres", why=str(away))
            await asyncio.sleep(pauses.next())
