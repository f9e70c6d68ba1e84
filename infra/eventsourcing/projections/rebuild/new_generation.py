"""Beginning a rebuild: the next generation's table and its row in the books, after what an earlier attempt has left."""

from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from domain.kernel.event_registry import Concerns
from infra.eventsourcing.event_log import EventLog, Session, log_head
from infra.eventsourcing.projections.generations import create_table, live_generation
from infra.eventsourcing.projections.projection import Projection

_LOCK: Final = "SELECT pg_advisory_lock(hashtextextended('weir:rebuild:' || $1, 0))"
_LOCK_SECONDS: Final = "2s"

# A server in the middle of a long statement would not look whether its client lives, and would hold the right to
# rebuild, and the table, until the statement is through: after a kill within a second, after a host that is lost
# without a word within half a minute.
_WATCHFUL: Final = (
    "SET client_connection_check_interval = '1s'; "
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
)


ABANDONED: Final = "SELECT generation FROM generations WHERE projection = $1 AND state = 'building' ORDER BY generation"
OUTLIVED: Final = (
    "SELECT generation FROM generations WHERE projection = $1 AND state <> 'live' AND generation < $2"
    " ORDER BY generation"
)
_FORGET: Final = (
    "DELETE FROM parked WHERE consumer = $1 AND generation = $2",
    "DELETE FROM checkpoints WHERE consumer = $1 AND generation = $2",
    "DELETE FROM generations WHERE projection = $1 AND generation = $2",
)


class Busy(Exception):
    """Another rebuild of this read model is going on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """A generation that is being built from the log up to ``head``, beside the ``live`` one."""

    log: EventLog
    projection: Projection[Any]
    concerns: Concerns
    generation: int
    live: int
    head: int

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards of the log."""
        return tuple(range(self.log.shards))


async def begin(session: Session, log: EventLog, projection: Projection[Any]) -> Building:
    """Lays down the next generation.

    ``session`` holds the right to rebuild until it is closed: keep it open, and do not go through a pooler. Raises
    :class:`Busy` where another holds it.
    """
    await watch_client(session)
    await _take_right(session, projection.name)
    await drop(session, projection, ABANDONED)
    live = await live_generation(session, projection.name)
    async with session.transaction():
        # No number is given twice, though its generation was dropped: caches may hold documents under it.
        generation: int = await session.fetchval(
            "UPDATE projections SET last_generation = "
            "1 + greatest(last_generation, (SELECT max(generation) FROM generations WHERE projection = name)) "
            "WHERE name = $1 RETURNING last_generation",
            projection.name,
        )
        await session.execute(
            "INSERT INTO generations (projection, generation, code_version, state) VALUES ($1, $2, $3, 'building')",
            projection.name,
            generation,
            projection.version,
        )
        await create_table(session, projection, generation)
    return Building(
        log=log,
        projection=projection,
        concerns=log.codec.registry.concerns(projection.handles),
        generation=generation,
        live=live,
        head=await log_head(session),
    )


async def watch_client(session: Session) -> None:
    """Has the server give up whatever it does for a client that has died."""
    await session.execute(_WATCHFUL)


async def _take_right(session: Session, name: str) -> None:
    """Waits for a moment: the server may not have noticed yet that the last who had it was killed."""
    await session.execute(f"SET lock_timeout = '{_LOCK_SECONDS}'")
    try:
        await session.fetchval(_LOCK, name)
    except asyncpg.LockNotAvailableError:
        raise Busy(name) from None
    finally:
        await session.execute("RESET lock_timeout")


async def drop(session: Session, projection: Projection[Any], those: str, *arguments: Any) -> list[int]:
    """Drops those generations, which nobody is served by, with all that belongs to them; answers which.

    A table that is being read just now is waited for, but not long: the next rebuild drops it.
    """
    rows = await session.fetch(those, projection.name, *arguments)
    dropped = []
    for (generation,) in rows:
        try:
            async with session.transaction():
                await _drop_one(session, projection, generation)
        except asyncpg.LockNotAvailableError:
            continue
        dropped.append(generation)
    return dropped


async def _drop_one(session: Session, projection: Projection[Any], generation: int) -> None:
    await session.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}'")
    await session.execute(f"DROP TABLE IF EXISTS {projection.table(generation)}")
    for statement in _FORGET:
        await session.execute(statement, projection.name, generation)
