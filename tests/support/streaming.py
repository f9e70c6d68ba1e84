"""A log that goes on while servers of Redis come and go, and whether what happens comes by the streams."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.concurrency.waiting import happens
from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.event_log import log_head
from tests.support.consumers import SHARDED, WHOLE_LOG, Scene
from tests.support.write_side import eventually


async def flowing(host: Host, scene: Scene) -> None:
    """Once what happens comes by the streams, and Postgres is asked for nothing."""

    async def flows() -> bool:
        before = {name: metrics.from_postgres._value.get() for name, metrics in host.metrics.items()}
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)
        return host.feed.up and before == {
            name: metrics.from_postgres._value.get() for name, metrics in host.metrics.items()
        }

    await eventually(flows, 20)


@asynccontextmanager
async def happening(scene: Scene) -> AsyncIterator[None]:
    """Events all the while."""

    stop = asyncio.Event()

    async def happen() -> None:
        while not await happens(stop, 0.01):
            await scene.happens(10)

    task = asyncio.create_task(happen())
    try:
        yield
    finally:
        stop.set()
        await task


async def goes_on(scene: Scene) -> None:
    """Once what the log has now has been applied by who takes it whole."""
    async with scene.database.session() as session:
        head = await log_head(session)

    async def passed() -> bool:
        rows = await scene.database.fetch("SELECT position FROM checkpoints WHERE consumer = $1", WHOLE_LOG)
        return bool(rows[0][0] >= head)

    await eventually(passed, 10)
