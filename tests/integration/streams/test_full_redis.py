"""A Redis at the limit of its memory: streams keep within their share, and what is owed goes on without it."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from structlog.testing import capture_logs

from domain.catalogue import ProductDescribed
from domain.orders import RefundOrder
from infra.embedded import Valkey
from infra.eventsourcing.relay.page import read_page
from infra.eventsourcing.relay.publisher import Publisher
from infra.eventsourcing.relay.relay import Relay
from infra.redis.job_queue import close_jobs, open_jobs
from infra.redis.keyspace import Keyspace
from infra.redis.topology.opening import open_wires
from infra.settings import Settings
from tests.support.builders import order_line, product_added
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import Happening, product
from tests.support.importing import importing, row, written
from tests.support.mail_office import tasks
from tests.support.refunding import refunding
from tests.support.write_side import eventually, write_side

pytestmark = pytest.mark.anyio

LIMIT = 8 * 2**20
LONG = 20_000
"""Letters of a description. Four hundred of them are the whole server's memory."""


@pytest.fixture
async def small(settings: Settings, tmp_path: Path) -> AsyncIterator[Settings]:
    """A Redis of the test's own, with little memory."""
    async with Valkey(tmp_path / "small", settings={"maxmemory": str(LIMIT)}).running() as url:
        yield settings.model_copy(update={"redis_url": SecretStr(url)})


@pytest.fixture
async def scene(small: Settings) -> AsyncIterator[Scene]:
    async with opened(small) as scene:
        yield scene


def described(product_id: UUID, letters: int = LONG) -> Happening:
    """An event that is as long as somebody's patience."""
    return product(
        product_id,
        ProductDescribed(
            product_id=product_id,
            name="Kettle",
            description="x" * letters,
            category=None,
            tags=(),
            tax_rate=order_line().tax_rate,
        ),
    )


async def products(scene: Scene, many: int = 8) -> list[UUID]:
    ids = [scene.shop.id() for _ in range(many)]
    added = [product(each, product_added(product_id=each, sku=f"SKU-{each.hex[:8]}")) for each in ids]
    await scene.writer.append(added)
    return ids


async def much_happens(scene: Scene, ids: list[UUID], laps: int) -> int:
    """Appends long descriptions; answers the last position."""
    return [(await scene.writer.append([described(each) for each in ids]))[-1] for _ in range(laps)][-1]


async def at(relay: Relay, position: int) -> None:
    async def there() -> bool:
        return relay.publisher.cursor >= position

    await eventually(there, 20)


async def used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def fill(redis: Redis) -> None:
    """Takes all the memory that is left, for keys that nobody may evict."""
    numbers = count()
    with suppress(OutOfMemoryError):
        while await redis.set(f"theirs:{next(numbers)}", b"x" * 10_000):
            pass


async def takes_jobs(settings: Settings) -> bool:
    jobs = open_jobs(settings.jobs_url, "weir:0badcafe:jobs")
    try:
        return await jobs.enqueue_job("tidy_imports") is not None
    finally:
        await close_jobs(jobs)


async def test_streams_never_fill_redis_however_long_events_are(scene: Scene) -> None:
    ids = await products(scene)
    async with scene.relay() as relay, scene.projector():
        await at(relay, await much_happens(scene, ids, 150))
        await scene.kept()
        assert relay.metrics.full._value.get() == 0
        assert await used(scene.redis) < LIMIT * 0.75
        assert relay.publisher.rooms.size <= relay.publisher.rooms.budget == LIMIT // 2
        assert await takes_jobs(scene.settings)


async def test_what_is_left_of_the_streams_is_the_newest_part_of_the_log_without_a_gap(scene: Scene) -> None:
    ids = await products(scene)
    async with scene.relay() as relay:
        await at(relay, last := await much_happens(scene, ids, 150))
    keys = Keyspace.of(scene.log.history)
    held: list[int] = []
    for shard in range(scene.log.shards):
        held += [int(entry_id.partition(b"-")[0]) for entry_id, _ in await scene.redis.xrange(keys.events(shard))]
    assert len(held) > 50
    assert sorted(held) == list(range(last - len(held) + 1, last + 1))


async def test_a_full_redis_has_its_streams_cut_and_the_relay_goes_on(scene: Scene) -> None:
    ids = await products(scene)
    async with scene.relay() as relay, scene.projector():
        # Half of what streams may take: else they are cut for that, and need none of what somebody else has taken.
        await at(relay, await much_happens(scene, ids, 10))
        assert (before := relay.publisher.rooms.size) < relay.publisher.rooms.budget * 0.75
        await fill(scene.redis)
        for _ in range(40):
            await at(relay, await much_happens(scene, ids, 1))
            if relay.metrics.full._value.get():
                break
        assert relay.metrics.full._value.get() > 0
        assert relay.publisher.rooms.size < before, "half of it and a lap, until there is room again"
        await at(relay, await much_happens(scene, ids, 40))
        await scene.kept()


async def test_a_relay_that_begins_at_a_full_redis_cuts_what_the_one_before_has_left(scene: Scene) -> None:
    ids = await products(scene)
    async with scene.relay() as first:
        await at(first, await much_happens(scene, ids, 40))
    await fill(scene.redis)
    last = await much_happens(scene, ids, 40)
    async with scene.relay() as second:
        await at(second, last)


async def test_a_stream_that_was_cut_short_takes_nothing_twice(scene: Scene) -> None:
    ids = await products(scene)
    wires = await open_wires(scene.settings.redis_url)
    async with scene.database.session() as session:
        page = await read_page(session, 0)
    async with scene.relay() as relay:
        await at(relay, await much_happens(scene, ids, 80))
    late = Publisher(Keyspace.of(scene.log.history), shards=scene.log.shards, length=1_000)
    with pytest.raises(ResponseError, match="equal or smaller"):
        await late.publish(wires, page)
    wires.close()


async def test_an_event_that_alone_is_larger_than_all_streams_may_be_is_read_from_the_log(scene: Scene) -> None:
    (one,) = await products(scene, 1)
    async with scene.relay(stream_bytes=2**20) as relay, scene.projector():
        await scene.writer.append([described(one), described(one, 2 * 2**20), described(one)])
        await at(relay, 4)
        await scene.kept()
        assert relay.metrics.full._value.get() == 0


async def test_streams_of_an_earlier_history_are_taken_away_by_the_next_relay(scene: Scene) -> None:
    async with scene.relay() as relay:
        await at(relay, await scene.happens(20))
    earlier, scene.log = scene.log, scene.log.on("another")
    async with scene.relay() as relay:
        await at(relay, await scene.happens(20))
    keys = Keyspace.of(earlier.history)
    assert await scene.redis.exists(*(keys.events(shard) for shard in range(earlier.shards))) == 0
    registered = await cast(Awaitable[set[bytes]], scene.redis.smembers(Keyspace.of(earlier.log_id).histories))
    assert registered == {Keyspace.of(scene.log.history).prefix.encode()}


async def test_a_redis_that_is_set_up_badly_is_told_of_once(scene: Scene) -> None:
    await scene.redis.config_set("maxmemory-policy", "allkeys-lru")
    with capture_logs() as told:
        async with scene.relay(lease_seconds=1) as relay:
            await at(relay, await scene.happens(5))
            epoch = relay.leader._renew_at

            async def renewed() -> bool:
                return relay.leader._renew_at > epoch

            await eventually(renewed)
    advice = [line["advice"] for line in told if line["event"] == "Redis should be set up otherwise"]
    assert len(advice) == 2
    assert "maxmemory is" in advice[0]
    assert "allkeys-lru" in advice[1]


@asynccontextmanager
async def everything(settings: Settings) -> AsyncIterator[None]:
    """A relay and a tasks worker beside it."""
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(opened(settings))
        await stack.enter_async_context(scene.relay())
        await stack.enter_async_context(tasks(settings))
        yield


async def test_with_redis_full_for_good_orders_expire_and_money_goes_back_and_mail_is_sent(
    small: Settings, database_url: str, tmp_path: Path
) -> None:
    async with write_side(database_url) as side, refunding(small, side, tmp_path) as till:
        async with Redis.from_url(small.redis_url.get_secret_value()) as redis:
            await fill(redis)
        async with everything(till.settings):
            late = await till.scene.order(timedelta(seconds=-1))
            paid = await till.scene.order(timedelta(hours=1))
            await till.scene.pay(paid, "pay-1")
            await till.scene.command(paid, RefundOrder())

            async def all_done() -> bool:
                cancelled = "cancelled" in await till.told(late)
                returned = "money_returned" in await till.told(paid)
                mails = [mail["state"] for mail in await till.scene.mails()]
                return cancelled and returned and len(mails) >= 4 and set(mails) == {"sent"}

            await eventually(all_done, 20)


async def test_with_redis_full_for_good_an_import_is_done(small: Settings) -> None:
    async with Redis.from_url(small.redis_url.get_secret_value()) as redis:
        await fill(redis)
    async with importing(small) as scene, everything(small):
        import_id = await scene.upload(written([row(number) for number in range(20)]))

        async def finished() -> bool:
            return bool((await scene.seen(import_id))["state"] == "finished")

        await eventually(finished, 20)
        assert len(await scene.products()) == 20
