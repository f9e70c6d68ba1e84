"""A relay and a consumer that are told to stop at any wait: the next one goes on, and each event is taken once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from infra.configs import relay_of
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.settings import Settings
from tests.support.consumers import Scene, both, scene
from tests.support.interruption import Moment, at_each_wait, leftovers
from tests.support.write_side import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("moment", Moment)]

FEW = 3
"""Events that come in between."""


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Scene]:
    async with scene(settings.model_copy(update={"log_level": "critical"})) as opened:
        yield opened


async def test_what_a_relay_has_left_undone_the_next_one_carries(shop: Scene, moment: Moment) -> None:
    head = 0

    async def carry(_: int) -> None:
        """Until all of the log is in the streams."""
        stop = asyncio.Event()
        relay = Relay(shop.database, shop.log, relay_of(shop.settings), RelayMetrics(CollectorRegistry()))

        async def is_done() -> bool:
            return relay.publisher.cursor >= head

        async def watch() -> None:
            await eventually(is_done)
            stop.set()

        watching = asyncio.create_task(watch())
        try:
            await relay.run(stop)
        finally:
            watching.cancel()

    async with leftovers(shop.database) as left:
        head = await shop.happens(FEW)
        async for _ in at_each_wait(carry, moment):
            await left.none()
            head = await shop.happens(FEW)
            await shop.database.execute("UPDATE leases SET expires_at = '-infinity'")
        await carry(0)
    streams = [await shop.redis.xrange(name) for name in await shop.redis.keys("*events*")]
    found = [int(entry.partition(b"-")[0]) for stream in streams for entry, _ in stream]
    assert sorted(found) == list(range(1, head + 1))


async def test_what_a_consumer_has_left_undone_the_next_one_applies_and_nothing_twice(
    shop: Scene, moment: Moment
) -> None:
    async def consume(_: int) -> None:
        """Until all of the log is applied; the process gives its leases back."""
        async with shop.process(recorders := both()):
            for each in recorders:
                await shop.reached(each.name)

    async with leftovers(shop.database) as left:
        await shop.happens(FEW)
        async for _ in at_each_wait(consume, moment):
            await left.none()
            await shop.happens(FEW)
        await consume(0)
    for each in both():
        await shop.all_seen(each.name)
