"""The relay: the log's events in the streams, once, in order and linked, whatever goes away in the meantime."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from domain.catalogue import ProductDescribed
from infra.configs import pool_of, relay_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import Entry, EventLog, identify
from infra.eventsourcing.relay.append_notifier import Doorbell
from infra.eventsourcing.relay.page import PAGE, PAGE_BYTES, read_page
from infra.eventsourcing.relay.publisher import LOOK_BACK, Publisher
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.redis.topology.opening import open_wires
from infra.settings import Settings
from tests.support.builders import PRODUCT_ID, order_line
from tests.support.event_logs import LogWriter, Shop, log_writer, product
from tests.support.proxy import Proxy
from tests.support.spoiled_rows import spoil
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


class Scene:
    """A log that is written to, the streams, and relays between them."""

    def __init__(self, settings: Settings, database: Database, log: EventLog, writer: LogWriter, redis: Redis) -> None:
        self.settings = settings
        self.database = database
        self.log = log
        self.writer = writer
        self.redis = redis
        self.keys, self.doorbell = Keyspace.of(log.history), Keyspace.of(log.log_id).doorbell
        self.shop = Shop.of(1)

    def relay(self, **changes: Any) -> Relay:
        settings = self.settings.model_copy(update=changes)
        return Relay(self.database, self.log, relay_of(settings), RelayMetrics(CollectorRegistry()))

    async def happens(self, count: int) -> int:
        """Appends so many events; answers the last position."""
        return (await self.writer.append(self.shop.happenings(count)))[-1]

    async def stream(self, shard: int) -> list[Entry]:
        return [self.log.entry(fields[b"e"]) for _, fields in await self.redis.xrange(self.keys.events(shard))]

    async def published(self) -> set[int]:
        return {each.position for shard in range(self.log.shards) for each in await self.stream(shard)}

    async def arrives(self, position: int, seconds: float = 10) -> None:
        """Waits until the event is in its stream."""

        async def there() -> bool:
            for shard in range(self.log.shards):
                if await self.redis.xrange(self.keys.events(shard), f"{position}-0", f"{position}-0"):
                    return True
            return False

        await eventually(there, seconds)

    async def is_the_log(self, first: int = 1) -> None:
        """From ``first`` on the streams hold the log's events, each once, in order, decoded alike and linked."""
        for shard in range(self.log.shards):
            async with self.database.session() as session:
                stored = await self.log.read_shard(session, shard, 0, 100_000)
            expected = [each for each in stored if each.position >= first]
            streamed = await self.stream(shard)
            assert [(e.position, e.prev, e.shard) for e in streamed] == [(e.position, e.prev, shard) for e in expected]
            assert [each.recorded() for each in streamed] == [each.recorded() for each in expected]


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    database, url = Database(pool_of(settings)), settings.database_url.get_secret_value()
    async with log_writer(url) as writer, Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        async with database.session() as session:
            log = await identify(session, CODEC)
        yield Scene(settings, database, log, writer, redis)
    await database.close()


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield relay
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def proxied(url: SecretStr) -> AsyncIterator[tuple[Proxy, SecretStr]]:
    """A line to a server that can be cut, and the URL that leads over it."""
    proxy = Proxy(url.get_secret_value())
    await proxy.open()
    try:
        yield proxy, SecretStr(proxy.url)
    finally:
        await proxy.close()


async def test_what_was_appended_together_wakes_a_reader_once(scene: Scene) -> None:
    last = await scene.happens(20)
    publisher = Publisher(scene.keys, shards=scene.log.shards, length=1_000)
    wires = await open_wires(scene.settings.redis_url)
    async with scene.database.session() as session:
        await publisher.resume(session, wires)
        page = await read_page(session, 0)
    streams: dict[Any, Any] = {scene.keys.events(shard): "0" for shard in range(scene.log.shards)}
    reading = asyncio.ensure_future(scene.redis.xread(streams, block=10_000))
    await eventually(lambda: blocked(scene.redis), 10)
    assert await publisher.publish(wires, page) == last
    wires.close()
    seen = {scene.log.entry(fields[b"e"]).position for _, entries in await reading for _, fields in entries}
    assert seen == set(range(1, last + 1))


async def blocked(redis: Redis) -> bool:
    return int((await redis.info("clients"))["blocked_clients"]) > 0


async def test_the_streams_hold_the_log_in_order_and_linked(scene: Scene) -> None:
    await scene.happens(300)
    async with running(scene.relay()):
        await scene.arrives(await scene.happens(50))
        await scene.is_the_log()


async def test_more_than_a_page_is_carried_over(scene: Scene) -> None:
    relay = scene.relay(stream_length=10_000)
    async with running(relay):
        await scene.arrives(await scene.happens(2 * PAGE + 17))
        await scene.is_the_log()


@pytest.mark.parametrize("rest", [0.0, 0.05])
async def test_a_ring_at_the_door_is_enough_to_make_it_look(scene: Scene, rest: float) -> None:
    relay = Relay(
        scene.database, scene.log, relay_of(scene.settings), RelayMetrics(CollectorRegistry()), idle_seconds=3600
    )
    bell = Doorbell(scene.settings.redis_url, scene.doorbell, rest=rest)
    async with running(relay):
        await scene.arrives(await scene.happens(1), 5)
        await eventually(lambda: listens(scene))
        for _ in range(3):
            last = await scene.happens(5)
            bell.ring()
            await scene.arrives(last, 5)
    await bell.close()


async def listens(scene: Scene) -> bool:
    return bool((await scene.redis.pubsub_numsub(scene.doorbell))[0][1])


async def test_streams_are_kept_short(scene: Scene) -> None:
    async with running(scene.relay(stream_length=100)):
        await scene.arrives(await scene.happens(1_500))
        lengths = [await scene.redis.xlen(scene.keys.events(shard)) for shard in range(scene.log.shards)]
        assert all(100 <= length <= 250 for length in lengths)


async def test_after_a_wipe_it_goes_on_and_the_links_show_what_is_missing(scene: Scene) -> None:
    async with running(scene.relay()):
        before = await scene.happens(100)
        await scene.arrives(before)
        await scene.redis.flushall()
        await scene.arrives(await scene.happens(100))
        await scene.is_the_log(before + 1)


async def test_while_redis_is_away_nothing_is_lost(scene: Scene) -> None:
    async with proxied(scene.settings.redis_url) as (proxy, url), running(scene.relay(redis_url=url)):
        await scene.arrives(await scene.happens(100))
        await proxy.close()
        last = await scene.happens(100)
        await proxy.open()
        await scene.arrives(last)
        await scene.is_the_log()


async def test_a_redis_that_comes_back_empty_gets_what_is_new(scene: Scene) -> None:
    async with proxied(scene.settings.redis_url) as (proxy, url), running(scene.relay(redis_url=url)) as relay:
        before = await scene.happens(100)
        await eventually(lambda: has_carried(relay, before))
        await proxy.close()
        await scene.redis.flushall()
        last = await scene.happens(100)
        await proxy.open()
        await scene.arrives(last)
        await scene.is_the_log(before + 1)


async def has_carried(relay: Relay, position: int) -> bool:
    """Whether it has heard that the events up to there are in the streams: they are before it has."""
    return relay.publisher.cursor >= position


async def test_a_redis_that_does_not_answer_is_given_up(scene: Scene) -> None:
    async with proxied(scene.settings.redis_url) as (proxy, url), running(scene.relay(redis_url=url)) as relay:
        await scene.arrives(await scene.happens(10))
        proxy.stall()
        last = await scene.happens(10)
        await eventually(lambda: given_up(relay), 10)
        proxy.resume()
        await scene.arrives(last)
        await scene.is_the_log()


async def given_up(relay: Relay) -> bool:
    return bool(relay.metrics.leading._value.get() == 0)


async def test_while_postgres_is_away_it_waits(scene: Scene) -> None:
    async with proxied(scene.settings.database_url) as (proxy, url):
        database = Database(pool_of(scene.settings.model_copy(update={"database_url": url})))
        relay = Relay(database, scene.log, relay_of(scene.settings), RelayMetrics(CollectorRegistry()))
        async with running(relay):
            await scene.arrives(await scene.happens(10))
            await proxy.close()
            last = await scene.happens(10)
            await proxy.open()
            await scene.arrives(last)
            await scene.is_the_log()
        await database.close()


async def test_a_full_redis_is_not_mistaken_for_one_that_has_it_all(scene: Scene) -> None:
    async with running(scene.relay()) as relay:
        await scene.arrives(await scene.happens(10))
        limit = (await scene.redis.config_get("maxmemory"))["maxmemory"]
        try:
            await scene.redis.config_set("maxmemory", "1")
            last = await scene.happens(10)

            async def refused() -> bool:
                return bool((await scene.redis.info("errorstats")).get("errorstat_OOM"))

            await eventually(refused)
            assert relay.publisher.cursor == 10
        finally:
            await scene.redis.config_set("maxmemory", limit)
        await scene.arrives(last)
        # Some of the ten before were given up to make room, the oldest first.
        kept = [entry.position for shard in range(scene.log.shards) for entry in await scene.stream(shard)]
        assert min(kept) <= 11
        await scene.is_the_log(min(kept))


async def test_of_two_relays_one_leads_and_the_other_takes_over_at_once(scene: Scene) -> None:
    async with running(scene.relay(lease_seconds=1)) as standby:
        async with running(scene.relay(lease_seconds=1)) as other:
            await scene.arrives(await scene.happens(20))
            assert sorted([bool(standby.leader.epoch), bool(other.leader.epoch)]) == [False, True]
        await scene.arrives(await scene.happens(20))
        await scene.is_the_log()


async def test_a_leader_that_slept_through_its_lease_doubles_nothing(scene: Scene) -> None:
    sleeper = Publisher(scene.keys, shards=scene.log.shards, length=20_000)
    wires = await open_wires(scene.settings.redis_url)
    await scene.happens(30)
    async with scene.database.session() as session:
        page = await read_page(session, 0)
    async with running(scene.relay()):
        await scene.arrives(await scene.happens(30))
        with pytest.raises(ResponseError, match="equal or smaller"):
            await sleeper.publish(wires, page)
        await scene.arrives(await scene.happens(30))
    await scene.is_the_log()
    wires.close()


async def test_without_the_ids_of_the_log_a_second_relay_would_double_everything(scene: Scene) -> None:
    last = await scene.happens(30)
    async with running(scene.relay()):
        await scene.arrives(last)
    for each in await scene.stream(0):
        await scene.redis.xadd(scene.keys.events(0), {"e": b'{"p":%d}' % each.position})
    with pytest.raises((AssertionError, ValueError)):
        await scene.is_the_log()


async def test_a_new_relay_goes_on_behind_the_newest_entry(scene: Scene) -> None:
    async with running(scene.relay()):
        await scene.arrives(await scene.happens(100))
    last = await scene.happens(100)
    async with running(scene.relay()) as second:
        await scene.arrives(last)
        await scene.is_the_log()
        assert second.metrics.published._value.get() == 100


async def test_a_new_relay_does_not_publish_what_has_long_been_read_from_postgres(scene: Scene) -> None:
    last = await scene.happens(LOOK_BACK + 500)
    async with running(scene.relay()):
        await scene.arrives(last)
        assert min(await scene.published()) == 501
        await scene.is_the_log(501)


async def test_streams_of_a_log_that_was_restored_to_an_earlier_point_are_dropped(scene: Scene) -> None:
    await scene.redis.xadd(scene.keys.events(0), {"e": b"{}"}, id="900-0")
    last = await scene.happens(20)
    async with running(scene.relay()):
        await scene.arrives(last)
        await scene.is_the_log()


async def test_a_page_is_bounded_by_its_bytes_and_what_is_larger_comes_alone(scene: Scene) -> None:
    words: dict[str, Any] = {"name": "Kettle", "category": None, "tags": (), "tax_rate": order_line().tax_rate}
    long = ProductDescribed(product_id=PRODUCT_ID, description="x" * (PAGE_BYTES // 3), **words)
    longest = replace(long, description="x" * (2 * PAGE_BYTES))
    events = (long, long, longest, long, long, long)
    last = (await scene.writer.append([product(PRODUCT_ID, each) for each in events]))[-1]
    sizes, after = [], 0
    async with scene.database.acquire() as session:
        while after < last:
            page = await read_page(session, after)
            assert page.full or page.last == last
            sizes.append(len(page.rows))
            after = page.last
    assert sizes == [3, 3]
    async with running(scene.relay()):
        await scene.arrives(last)
        await scene.is_the_log()


async def test_the_relay_tells_how_late_it_is_while_redis_is_away(scene: Scene) -> None:
    async with proxied(scene.settings.redis_url) as (proxy, url):
        registry = CollectorRegistry()
        settings = scene.settings.model_copy(update={"redis_url": url})
        relay = Relay(scene.database, scene.log, relay_of(settings), RelayMetrics(registry))

        async def late() -> bool:
            events = registry.get_sample_value("weir_relay_lag_events")
            seconds = registry.get_sample_value("weir_relay_lag_seconds")
            return events == 30 and seconds is not None and seconds > 0.5

        async with running(relay):
            before = await scene.happens(10)
            await eventually(lambda: has_carried(relay, before))
            await proxy.close()
            last = await scene.happens(30)
            await eventually(late, 10)
            await proxy.open()
            await scene.arrives(last)


async def test_streams_of_another_history_are_dropped_though_they_are_not_longer(scene: Scene) -> None:
    last = await scene.happens(20)
    body = b'{"p":7,"v":0,"r":"2020-01-01T00:00:00.000001Z"}'
    await scene.redis.xadd(scene.keys.events(0), {"e": body}, id="7-0")
    async with running(scene.relay()):
        await scene.arrives(last)
        await scene.is_the_log()


async def make_texts(redis: Redis, *keys: str) -> None:
    """What somebody does who takes the names for his own."""
    for key in keys:
        await redis.set(key, "garbage")


async def test_keys_that_are_no_streams_are_taken_away_by_the_relay_that_leads(scene: Scene) -> None:
    streams = [scene.keys.events(shard) for shard in range(scene.log.shards)]
    async with running(scene.relay()):
        await scene.arrives(await scene.happens(40))
        await make_texts(scene.redis, *streams)
        last = await scene.happens(40)
        await eventually(lambda: are_streams(scene.redis, streams))
        await scene.arrives(last)
        await scene.is_the_log()
    assert await history(scene) == scene.log.history, "nothing is lost"


async def are_streams(redis: Redis, keys: list[str]) -> bool:
    return [await redis.type(key) for key in keys] == [b"stream"] * len(keys)


async def history(scene: Scene) -> object:
    async with scene.database.session() as session:
        return (await identify(session, CODEC)).history


async def test_a_new_relay_takes_away_what_is_no_stream_and_no_set_of_histories(scene: Scene) -> None:
    stream = scene.keys.events(0)
    await make_texts(scene.redis, stream, Keyspace.of(scene.log.log_id).histories)
    last = await scene.happens(40)
    async with running(scene.relay()):
        await eventually(lambda: are_streams(scene.redis, [stream]))
        await scene.arrives(last)
        await scene.is_the_log()


END = "18446744073709551615"
"""As large as a half of an id can be."""


@pytest.mark.parametrize("far", ["9007199254740991-0", f"{END}-0", f"{END}-{END}"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "taken out"])
async def test_ids_that_no_event_has_do_not_pass_for_what_was_published(scene: Scene, far: str, kept: bool) -> None:
    """Every later event has a smaller id, and is refused as one that is there already is."""
    async with running(scene.relay()):
        await scene.arrives(await scene.happens(40))
        for shard in range(scene.log.shards):
            await scene.redis.xadd(scene.keys.events(shard), {"e": b'{"p":99}'}, id=far)
            if not kept:
                await scene.redis.xdel(scene.keys.events(shard), far)
        last = await scene.happens(40)
        await scene.arrives(last)
        await scene.is_the_log()
    assert await history(scene) != scene.log.history


async def test_streams_that_were_emptied_are_of_this_log_and_gone_on_with(scene: Scene) -> None:
    async with running(scene.relay()):
        before = await scene.happens(40)
        await scene.arrives(before)
    for shard in range(scene.log.shards):
        await scene.redis.xtrim(scene.keys.events(shard), maxlen=0, approximate=False)
    last = await scene.happens(40)
    async with running(scene.relay()) as second:
        await scene.arrives(last)
        await scene.is_the_log(before + 1)
        assert second.metrics.published._value.get() == 40
    assert await history(scene) == scene.log.history


async def test_a_page_that_is_sent_once_more_doubles_nothing_and_is_not_taken_for_somebody_elses(scene: Scene) -> None:
    publisher = Publisher(scene.keys, shards=scene.log.shards, length=20_000)
    wires = await open_wires(scene.settings.redis_url)
    await scene.happens(30)
    async with scene.database.session() as session:
        await publisher.resume(session, wires)
        assert await publisher.publish(wires, page := await read_page(session, 0)) == 30
        assert await publisher.publish(wires, page) == 0
    await scene.is_the_log()
    wires.close()


async def test_a_row_that_nobody_can_read_is_told_once_and_ends_no_relay(scene: Scene) -> None:
    await scene.happens(10)
    (row,) = await scene.database.fetch("SELECT recorded_at::text FROM events WHERE position = 5")
    await spoil(scene.database, 5, "recorded_at", "'12000-01-01'")
    with capture_logs() as lines:
        async with running(scene.relay()):

            async def has_tried_again() -> bool:
                return [line["event"] for line in lines].count("relay leads") >= 3

            await eventually(has_tried_again)
            await spoil(scene.database, 5, "recorded_at", f"'{row['recorded_at']}'")
            await scene.arrives(10)
            await scene.is_the_log()
    (told,) = [line for line in lines if line["log_level"] == "error"]
    assert (told["event"], told["after"], told["error"]) == (
        "page cannot be carried",
        0,
        "OverflowError: date value out of range",
    )


async def test_a_row_that_nobody_mends_is_passed_over_when_consumers_have_long_read_what_is_around_it(
    scene: Scene,
) -> None:
    await scene.happens(10)
    await spoil(scene.database, 5, "recorded_at", "'4000-01-01 BC'")
    with capture_logs() as lines:
        async with running(scene.relay()):

            async def has_stumbled() -> bool:
                return any(line["event"] == "page cannot be carried" for line in lines)

            await eventually(has_stumbled)
            await scene.arrives(await scene.happens(LOOK_BACK + 10))
    assert min(await scene.published()) > 5


@pytest.mark.parametrize("shard", [99, -1])
async def test_an_event_of_a_shard_that_is_not_there_is_in_no_stream_and_holds_up_no_other(
    scene: Scene, shard: int
) -> None:
    await scene.happens(10)
    await spoil(scene.database, 5, "shard", str(shard))
    with capture_logs() as lines:
        async with running(scene.relay()):
            await scene.arrives(10)
    assert await scene.published() == {*range(1, 11)} - {5}
    await scene.is_the_log()
    (told,) = [line for line in lines if line["log_level"] == "error"]
    assert (told["event"], told["position"], told["shard"]) == ("event of no shard", 5, shard)
