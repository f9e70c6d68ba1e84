"""The number of shards, changed: every event gets its new shard, every consumer a place in each, in one transaction.

Offline: an event that is appended under the old number while this is done would lie where nobody looks for it. And only
where consumers have applied all that there is. What one has not applied of two shards cannot be told by one position
in a third.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from domain.kernel.messages import shard_of
from infra.eventsourcing.event_log import Session, log_head

MOST: Final = 64
"""Shards at the most. So many streams a log may have left in Redis under another history."""
WAIT_SECONDS: Final = 2
_BATCH: Final = 10_000

_HOLD: Final = (
    "LOCK TABLE log_head, events, checkpoints, workers, leases, parked, projections, generations "
    "IN ACCESS EXCLUSIVE MODE"
)
_OTHERS: Final = """
SELECT DISTINCT coalesce(nullif(application_name, ''), usename, 'somebody')::text FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1"""
_ALIVE: Final = """
SELECT kind || ' on ' || host || ' (' || pid || ')' FROM workers
WHERE heartbeat_at BETWEEN now() - make_interval(secs => $1) AND now() + make_interval(secs => $1) AND EXISTS (
    SELECT FROM checkpoints c WHERE c.owner = worker_id)
UNION ALL SELECT name FROM leases
WHERE expires_at BETWEEN now() AND now() + interval '10 minutes' ORDER BY 1"""

_LIVE: Final = (
    "checkpoints c LEFT JOIN projections p ON p.name = c.consumer "
    "LEFT JOIN generations g ON g.projection = c.consumer AND g.generation = c.generation "
    "WHERE c.shard >= 0 AND c.generation = coalesce(p.live_generation, 0)"
)
_BEHIND: Final = f"""
SELECT c.consumer FROM {_LIVE} AND g.code_version IS DISTINCT FROM 0
AND EXISTS (SELECT FROM events e WHERE e.shard = c.shard AND e.position > c.position)
GROUP BY c.consumer ORDER BY 1"""  # noqa: S608
"""Of a read model that is to be built anew in any case nothing is asked."""

_ENTITIES: Final = (
    "SELECT DISTINCT stream_id FROM events WHERE version = 1 AND category <> ALL ($1::text[]) ORDER BY stream_id"
)
_STRAY: Final = """
SELECT category FROM events e WHERE NOT EXISTS (SELECT FROM resharded m WHERE m.stream_id = e.stream_id) LIMIT 1"""
_MOVE: Final = """
UPDATE events e SET shard = m.shard FROM resharded m WHERE m.stream_id = e.stream_id AND m.shard <> e.shard"""

# Behind the head of the log, in each shard: also a token of before the change asks for no more than that.
_REBASE: Final = (
    f"CREATE TEMP TABLE kept ON COMMIT DROP AS "  # noqa: S608
    f"SELECT c.consumer, c.generation, max(c.epoch) + 1 AS epoch FROM {_LIVE} GROUP BY 1, 2",
    "DELETE FROM checkpoints WHERE shard >= 0",
    "INSERT INTO checkpoints "
    "(consumer, generation, shard, position, refreshed, epoch, event_position, event_recorded_at) "
    "SELECT k.consumer, k.generation, s, h.position, h.position, k.epoch, e.position, e.recorded_at "
    "FROM kept k CROSS JOIN log_head l CROSS JOIN LATERAL generate_series(0, l.shards - 1) AS s "
    "CROSS JOIN log_position() AS h (position) LEFT JOIN events e ON e.position = h.position",
    "UPDATE parked p SET shard = e.shard FROM events e WHERE e.position = p.position",
    "UPDATE generations SET code_version = 0 WHERE state = 'retired'",
)


class NotAlone(Exception):
    """Somebody is at work on the log; the names say who."""


class Behind(Exception):
    """Consumers have not applied all that there is; the names say which."""


class Resharded(NamedTuple):
    """What has changed: from how many shards to how many, and how many events lie in another now."""

    before: int
    after: int
    moved: int


async def hold(session: Session) -> None:
    """Keeps everybody out, until the end of the transaction. Raises :class:`NotAlone` where somebody is at work."""
    await session.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
    # A server in the middle of a long statement would not look whether its client lives, and go on holding all of it.
    await session.execute("SET LOCAL client_connection_check_interval = '1s'")
    try:
        await session.execute("SELECT lock_log()")
        await session.execute(_HOLD)
    except asyncpg.LockNotAvailableError as error:
        raise NotAlone("somebody who is in a transaction") from error


async def nobody_else(session: Session) -> None:
    """Raises :class:`NotAlone` where anybody else is connected: an API process would go on by the old number.

    So would who builds a read model, which takes a connection from its beginning to its end. What is being built by
    nobody was given up, and the next rebuild clears it away.
    """
    until = monotonic() + WAIT_SECONDS
    while names := await _names(session, _OTHERS):
        if monotonic() > until:
            raise NotAlone(", ".join(names))
        await asyncio.sleep(0.1)
        await session.execute("SELECT pg_stat_clear_snapshot()")


async def reshard(
    session: Session,
    shards: int,
    *,
    derived: dict[str, Callable[[UUID], UUID]],
    by_shard: Collection[str],
    lease_seconds: float,
) -> Resharded:
    """Changes the number of shards, in a transaction that :func:`hold` keeps everybody out of.

    ``derived`` are the categories whose streams are not named like their entity, with what makes the name; ``by_shard``
    the read models that have a row for each shard: they are to be built anew. Raises :class:`NotAlone` and
    :class:`Behind`: then nothing has changed. Redis is left as it is: the log has another history from here on.
    """
    if names := await _names(session, _ALIVE, lease_seconds):
        raise NotAlone(", ".join(names))
    if names := await _names(session, _BEHIND):
        raise Behind(", ".join(names))
    before: int = await session.fetchval("SELECT shards FROM log_head")
    if before == shards:
        return Resharded(before, shards, 0)
    moved = await _move(session, shards, derived)
    await session.execute("UPDATE log_head SET shards = $1, history = gen_random_uuid()", shards)
    for statement in _REBASE:
        await session.execute(statement)
    await session.execute(
        "UPDATE generations SET code_version = 0 WHERE state = 'live' AND projection = ANY ($1::text[])",
        list(by_shard) if await log_head(session) else [],
    )
    return Resharded(before, shards, moved)


async def _move(session: Session, shards: int, derived: dict[str, Callable[[UUID], UUID]]) -> int:
    """Gives each event the shard of its entity; answers how many have another now."""
    await session.execute("CREATE TEMP TABLE resharded (stream_id uuid, shard smallint) ON COMMIT DROP")
    async for entities in _entities(session, list(derived)):
        rows = [
            (stream_id, shard)
            for entity in entities
            for shard in (shard_of(entity, shards),)
            for stream_id in (entity, *(name(entity) for name in derived.values()))
        ]
        await session.copy_records_to_table("resharded", records=rows)
    await session.execute("CREATE INDEX ON resharded (stream_id)")
    await session.execute("ANALYZE resharded")
    stray = await session.fetchval(_STRAY)
    if stray is not None:
        raise LookupError(f"a stream of {stray} belongs to nothing that is known")
    return int((await session.execute(_MOVE)).rpartition(" ")[2])


async def _entities(session: Session, derived: Sequence[str]) -> AsyncIterator[list[UUID]]:
    cursor = await session.cursor(_ENTITIES, derived)
    while rows := await cursor.fetch(_BATCH):
        yield [row[0] for row in rows]


async def _names(session: Session, statement: str, *arguments: float) -> list[str]:
    return [row[0] for row in await session.fetch(statement, *arguments)]
