"""Durable single-event appends through Weir's event store: one process, one order per append, each in a new stream."""

import asyncio
from uuid import uuid4

import orjson
import uvloop

from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.loops import race
from benchmarks.ours.settings import settings_of
from benchmarks.task import Task, received
from domain.kernel.messages import shard_of
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.store import Appended, Appender, AppendRequest, StreamAppend
from infra.postgres.pool import Database


async def _run(task: Task) -> Figures:
    settings = settings_of(task)
    deal, metadata = workload.orders(), orjson.dumps(workload.metadata())
    events = [CODEC.decode("order.placed", 1, orjson.dumps(deal())) for _ in range(workload.PRODUCTS)]
    database = Database(pool_of(settings))
    appender = Appender(database, timeout=settings.append_timeout, largest_batch=settings.append_batch)

    async def append(writer: int) -> None:
        stream = uuid4()
        event = CODEC.encode(events[stream.int % len(events)])
        part = StreamAppend(stream, "order", shard_of(stream, settings.shards), 0, [event])
        verdict = await appender.append(AppendRequest([part], metadata))
        if not isinstance(verdict, Appended):
            raise RuntimeError(f"writer {writer} got {verdict}")

    try:
        return await race(append, writers=task.writers, seconds=task.seconds)
    finally:
        await appender.close()
        await database.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(received())).tell()
