"""A relay as it is usually written: pages of 1,000 rows by SELECT, then one pipeline of XADDs with five fields each.

It does less than Weir's: no leader, no shards, no links between entries, nothing to recover from.
"""

import asyncio
from time import perf_counter
from typing import Any

import asyncpg
import uvloop
from redis.asyncio import Redis

from benchmarks.figures import Figures
from benchmarks.task import Task, received

PAGE = 1_000
LENGTH = 160_000
STREAM = "bench:peer:events"
SELECT = """
SELECT position, stream_id, type, data::text AS data, metadata::text AS metadata FROM events
WHERE position > $1 ORDER BY position LIMIT $2
"""


async def _run(task: Task) -> Figures:
    most = int(task.extra["events"])
    async with Redis.from_url(task.redis) as redis:
        await redis.delete(STREAM)
        connection = await asyncpg.connect(task.database)
        try:
            start = perf_counter()
            count = await _relay(connection, redis, most, start + task.seconds)
            elapsed = perf_counter() - start
        finally:
            await connection.close()
            await redis.delete(STREAM)
    return Figures(rate=count / elapsed, count=count, seconds=elapsed)


async def _relay(connection: asyncpg.Connection, redis: Redis, most: int, end: float) -> int:
    position = count = 0
    while count < most and perf_counter() < end:
        rows = await connection.fetch(SELECT, position, PAGE)
        if not rows:
            break
        async with redis.pipeline(transaction=False) as pipeline:
            for row in rows:
                pipeline.xadd(STREAM, _fields(row), maxlen=LENGTH)
            await pipeline.execute()
        position = rows[-1]["position"]
        count += len(rows)
    return count


def _fields(row: asyncpg.Record) -> dict[Any, Any]:
    return {
        "position": row["position"],
        "stream_id": str(row["stream_id"]),
        "type": row["type"],
        "data": row["data"],
        "metadata": row["metadata"],
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(received())).tell()
