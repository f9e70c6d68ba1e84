"""From the log into Redis: ``weir worker relay`` against a page of rows and a pipeline."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from benchmarks.bench import Bench
from benchmarks.failure import Failed
from benchmarks.figures import Figures
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.databases import SHARDS
from benchmarks.setting.waiting import until
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.redis.keyspace import Keyspace

_PIPELINE = "SELECT page + pipelined XADD"
_LOOK_SECONDS = 0.02
_START_SECONDS = 30.0
_HIDE = """
BEGIN;
ALTER TABLE events RENAME TO events_of_later;
CREATE TABLE events (LIKE events_of_later INCLUDING DEFAULTS);
INSERT INTO events SELECT * FROM events_of_later ORDER BY position LIMIT 1;
COMMIT
"""
_SHOW = "BEGIN; DROP TABLE events; ALTER TABLE events_of_later RENAME TO events; COMMIT"


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    database = await bench.databases.long_log()
    streams = [Keyspace.of(await _history(database)).events(shard) for shard in range(SHARDS)]

    async def ours(_number: int) -> Figures:
        async with Redis.from_url(bench.redis) as redis, AsyncExitStack() as stack:
            await redis.delete(*streams)
            async with _only_the_first(database):
                await stack.enter_async_context(bench.weir_worker("relay", database))
                await _begun(redis, streams)
            figures = await _watched(redis, streams, bench)
            await stack.aclose()
            await redis.delete(*streams)
        return figures

    async def theirs(_number: int) -> Figures:
        extra = {"events": bench.options.events}
        return await bench.lap("benchmarks.peers.xadd_relay", database=database, extra=extra)

    yield {WEIR: ours, _PIPELINE: theirs}


async def _history(database: str) -> UUID:
    connection = await asyncpg.connect(database)
    try:
        return (await identify(connection, CODEC)).history
    finally:
        await connection.close()


@asynccontextmanager
async def _only_the_first(database: str) -> AsyncIterator[None]:
    """A log of one event; after the block the others are there, all at once.

    A relay that finds empty streams publishes only the end of a long log, consumers having Postgres for the rest. One
    that has begun with a short log carries all that comes.
    """
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_HIDE)
        yield
        await connection.execute(_SHOW)
    finally:
        await connection.close()


async def _begun(redis: Redis, streams: list[str]) -> int:
    return await until(
        lambda: _newest(redis, streams), seconds=_START_SECONDS, every=_LOOK_SECONDS, what="the relay's start"
    )


async def _watched(redis: Redis, streams: list[str], bench: Bench) -> Figures:
    """How fast the newest entry moves, from the first that is seen until the lap or the log is over."""
    first = await _begun(redis, streams)
    start = now = perf_counter()
    last = first
    while now - start < bench.options.seconds and last < bench.options.events // 3 * 3:
        await asyncio.sleep(_LOOK_SECONDS)
        last, now = await _newest(redis, streams), perf_counter()
    if last == first:
        raise Failed("the relay stood still")
    return Figures(rate=(last - first) / (now - start), count=last - first, seconds=now - start)


async def _newest(redis: Redis, streams: list[str]) -> int:
    tails = [await redis.xrevrange(stream, count=1) for stream in streams]
    return max((int(entry_id.partition(b"-")[0]) for tail in tails for entry_id, _ in tail), default=0)


PUBLISHING = Measure(
    name="relay",
    unit="events/s",
    open=_opened,
    bars=(Bar(what="relay, events into Redis streams", against=_PIPELINE, ratio=1.5),),
)
