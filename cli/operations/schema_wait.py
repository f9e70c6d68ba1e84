"""The wait for a schema that somebody else brings up to date: a new release's processes start when it is there."""

import asyncio
from typing import Final

from infra.concurrency.backoff import Pauses
from infra.configs import pool_of
from infra.errors import Rejected, Unavailable, UnknownSchema
from infra.eventsourcing.projections.generations import are_up_to_date
from infra.postgres import schema_version
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS

READ_MODELS: Final = "the read models are not up to date yet"


class Waited(Exception):
    """It was not there in time."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(f"waited {seconds:g} s in vain: {why}")


async def until_up_to_date(settings: Settings, seconds: float) -> None:
    """Returns when the schema is this release's and every read model can be served; asks until then.

    Raises :class:`Waited`, and at once what no wait mends: :class:`~infra.errors.Rejected`, and
    :class:`~infra.errors.UnknownSchema` for a database that a newer release has migrated.
    """
    loop = asyncio.get_running_loop()
    until, pauses = loop.time() + seconds, Pauses(first=0.1)
    database = Database(pool_of(settings))
    try:
        while (why := await _what_is_missing(database)) is not None:
            if loop.time() >= until:
                raise Waited(seconds, why)
            await asyncio.sleep(pauses.next())
    finally:
        await database.close()


async def _what_is_missing(database: Database) -> str | None:
    try:
        await schema_version.check(database)
        async with database.acquire() as session:
            return None if await are_up_to_date(session, PROJECTIONS) else READ_MODELS
    except Rejected:
        raise
    except UnknownSchema as other:
        if other.newer:
            raise
        return str(other)
    except Unavailable as away:
        return str(away)
