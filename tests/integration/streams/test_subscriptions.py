"""Following streams and the log: every event once and in order, whatever becomes of rings, Valkey and Postgres."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.configs import pool_of, relay_of
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.eventsourcing.subscriptions import Ended, FollowedEvent, Reason, Subscription, Subscriptions, Wanted
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.event_logs import Shop
from tests.support.following import SOON, Scene, failed, numbers
from tests.support.following import scene as opened
from tests.support.proxy import Proxy, proxy_before
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as it:
        yield it


async def places(subscription: Subscription, last: int) -> list[int]:
    """The places that come, up to that one."""
    return [event.place for event in await taken(subscription, last)]


async def taken(subscription: Subscription, last: int) -> Sequence[FollowedEvent]:
    found: list[FollowedEvent] = []
    async with asyncio.timeout(10):
        while subscription.place < last:
            found += await subscription.next(1)
    return found


async def are_live(*subscriptions: Subscription) -> None:
    """They have nothing to get out of the past any more."""
    async with asyncio.timeout(10):
        for each in subscriptions:
            while not each._live:
                assert not await each.next(0.01)


async def test_a_follower_gets_the_past_and_then_what_comes_by_a_ring_alone(scene: Scene) -> None:
    await scene.happens(250)
    async with scene.process() as process:
        with process.to_stream(scene.order_id, after=7) as subscription:
            assert await places(subscription, 250) == numbers(7, 250)
            last = await scene.happens(3)
            await scene.ring(last)
            assert await places(subscription, last) == [251, 252, 253]
            assert not await subscription.next(0.01)


async def test_what_is_followed_is_the_event_itself(scene: Scene) -> None:
    await scene.happens(1)
    async with scene.process() as process:
        with process.to_stream(scene.order_id, after=0) as subscription:
            (event,) = await taken(subscription, 1)
    made: list[int] = []
    assert event.recorded().data == failed(scene.order_id, 0).event
    assert event.recorded() is event.recorded()

    def make(followed: FollowedEvent) -> int:
        made.append(followed.place)
        return len(made)

    assert [event.once(make), event.once(make)] == [1, 1]


async def no_ring(scene: Scene, upto: int) -> None:
    """Lost on the way."""


async def doubled(scene: Scene, upto: int) -> None:
    for _ in range(3):
        await scene.ring(upto)


async def backwards(scene: Scene, upto: int) -> None:
    for each in (upto, upto - 1, max(1, upto - 2)):
        await scene.ring(each)


async def ahead(scene: Scene, upto: int) -> None:
    """Of another history, say."""
    await scene.ring(upto + 100)


@pytest.mark.parametrize("ring", [no_ring, doubled, backwards, ahead])
async def test_whatever_becomes_of_rings_each_event_comes_once(scene: Scene, ring: Any) -> None:
    async with scene.process(poll=SOON) as process:
        with process.to_stream(scene.order_id, after=0) as subscription:
            found: list[int] = []
            for count in (1, 3, 1, 20):
                last = await scene.happens(count)
                await ring(scene, last)
                found += await places(subscription, last)
            assert found == numbers(0, last)


async def test_many_who_come_and_go_while_it_is_written_all_get_everything(scene: Scene) -> None:
    chance, streams = random.Random(20), [uuid4() for _ in range(4)]

    async def write() -> None:
        for _ in range(60):
            stream_id = chance.choice(streams)
            last = await scene.happens(chance.randint(1, 12), stream_id)
            for _ in range(chance.choice([0, 1, 1, 2])):
                await scene.ring(last - chance.choice([0, 0, 1]), stream_id)

    async def follow(process: Subscriptions, stream_id: UUID) -> None:
        """In several turns, each of which goes on where the one before has ended."""
        found: list[int] = []
        while len(found) < (scene.writer.versions.get(stream_id, 0) if writing.done() else 1_000):
            with process.to_stream(stream_id, after=len(found)) as subscription:
                for _ in range(chance.randint(1, 4)):
                    found += [event.place for event in await subscription.next(SOON)]
        assert found == numbers(0, scene.writer.versions.get(stream_id, 0))

    async with scene.process(poll=SOON) as process, asyncio.timeout(20):
        writing = asyncio.create_task(write())
        await asyncio.gather(writing, *(follow(process, each) for each in streams for _ in range(3)))
        assert process.followed == 0


async def test_many_followers_cost_one_subscription_and_one_read(scene: Scene) -> None:
    topic = scene.keys.stream(scene.order_id)
    async with scene.process() as process:
        with ExitStack() as all_of_them:
            followers = [all_of_them.enter_context(process.to_stream(scene.order_id, after=0)) for _ in range(100)]
            await are_live(*followers)
            assert await scene.listeners(topic) == 1
            before = process.reads
            await scene.ring(await scene.happens(2))
            assert [await places(each, 2) for each in followers] == [[1, 2]] * 100
            assert process.reads == before + 1
            assert process.followed == 1
        assert process.followed == 0

        async def left() -> bool:
            return await scene.listeners(topic) == 0

        await eventually(left)


async def test_what_nobody_follows_here_is_neither_heard_nor_read(scene: Scene) -> None:
    async with scene.process() as process:
        with process.to_stream(scene.order_id, after=0) as subscription:
            await are_live(subscription)
            before = process.reads
            for _ in range(20):
                other = uuid4()
                await scene.ring(await scene.happens(1, other), other)
            await scene.ring(await scene.happens(1))
            assert await places(subscription, 1) == [1]
            assert process.reads == before + 1


async def test_a_follower_that_takes_nothing_is_ended_and_nobody_else_is(scene: Scene) -> None:
    async with scene.process(most_events=10) as process:
        with (
            process.to_stream(scene.order_id, after=0) as slow,
            process.to_stream(scene.order_id, after=0) as quick,
        ):
            await are_live(slow, quick)
            for _ in range(5):
                last = await scene.happens(4)
                await scene.ring(last)
                assert (await places(quick, last))[-1] == last
            with pytest.raises(Ended) as ended:
                await slow.next(1)
            assert ended.value.reason is Reason.TOO_SLOW
        with process.to_stream(scene.order_id, after=slow.place) as again:
            assert await places(again, last) == numbers(slow.place, last)


async def test_nobody_is_ended_for_the_past_however_slowly_it_is_read(scene: Scene) -> None:
    await scene.happens(300)
    async with scene.process(most_events=10) as process:
        with process.to_stream(scene.order_id, after=0) as subscription:
            found = [event.place for event in await subscription.next(5)]
            last = await scene.happens(100)
            await scene.ring(last)
            found += await places(subscription, last)
            assert found == numbers(0, last)


async def test_without_valkey_it_is_looked_and_when_it_is_back_a_ring_is_enough_again(scene: Scene) -> None:
    topic = scene.keys.stream(scene.order_id)
    async with (
        proxy_before(scene.settings.redis_url.get_secret_value()) as proxy,
        scene.process(poll=SOON, redis_url=proxy.url) as process,
    ):
        with process.to_stream(scene.order_id, after=0) as subscription:
            found = await places(subscription, await scene.happens(3))
            await proxy.close()
            found += await places(subscription, await scene.happens(5))
            await proxy.open()
            await eventually(lambda: _is(scene, topic, 1), 10)
            found += await places(subscription, await scene.happens(5))
            assert found == numbers(0, 13)


async def _is(scene: Scene, topic: str, number: int) -> bool:
    return await scene.listeners(topic) == number


async def test_what_was_rung_for_while_valkey_was_away_is_read_when_it_is_back(scene: Scene) -> None:
    async with (
        proxy_before(scene.settings.redis_url.get_secret_value()) as proxy,
        scene.process(redis_url=proxy.url) as process,
    ):
        with process.to_stream(scene.order_id, after=0) as subscription:
            await are_live(subscription)
            await proxy.close()
            last = await scene.happens(3)
            await scene.ring(last)
            await proxy.open()
            assert await places(subscription, last) == [1, 2, 3]


async def test_while_postgres_is_away_nothing_is_lost_of_streams_or_of_the_log(scene: Scene) -> None:
    async with (
        proxy_before(scene.settings.database_url.get_secret_value()) as proxy,
        away(scene, proxy) as database,
        scene.process(poll=SOON, database=database) as process,
    ):
        with process.to_stream(scene.order_id, after=0) as stream, process.to_log(after=0) as log:
            last = await scene.happens(3)
            found = [await places(stream, last), await places(log, last)]
            await proxy.close()
            last = await scene.happens(120)
            assert not await stream.next(0.2)
            with process.to_stream(scene.order_id, after=0) as late:
                assert not await late.next(0.01)
                await proxy.open()
                found = [found[0] + await places(stream, last), found[1] + await places(log, last)]
                assert [*found, await places(late, last)] == [numbers(0, last)] * 3


@asynccontextmanager
async def away(scene: Scene, proxy: Proxy) -> AsyncIterator[Database]:
    database = Database(pool_of(scene.settings.model_copy(update={"database_url": SecretStr(proxy.url)})))
    try:
        yield database
    finally:
        await database.close()


async def test_another_history_of_the_log_ends_whoever_follows(scene: Scene) -> None:
    async with scene.process(poll=SOON) as process:
        with process.to_stream(scene.order_id, after=0) as subscription, process.to_log(after=0) as log:
            assert await places(subscription, await scene.happens(2)) == [1, 2]
            scene.current.found(scene.current.log.on("another timeline"))
            for each in (subscription, log):
                with pytest.raises(Ended) as ended:
                    await places(each, 1_000)
                assert ended.value.reason is Reason.OTHER_HISTORY
        with process.to_stream(scene.order_id, after=0) as again:
            assert await places(again, await scene.happens(1)) == [1, 2, 3]


async def test_the_end_of_the_process_ends_whoever_follows(scene: Scene) -> None:
    async with scene.process() as process:
        with process.to_stream(scene.order_id, after=0) as subscription:
            waiting = asyncio.create_task(subscription.next())
            process.close()
            with pytest.raises(Ended, match="closed"):
                await waiting
        with process.to_log(after=0) as late, pytest.raises(Ended, match="closed"):
            await late.next()


async def test_who_follows_the_log_gets_what_passes_the_filter_and_moves_on_past_the_rest(scene: Scene) -> None:
    shop = Shop.of(3)
    await scene.writer.append(shop.happenings(150))
    stored = await scene.database.fetch("SELECT position, category, type FROM events ORDER BY position")
    async with scene.process() as process:
        with (
            process.to_log(after=0) as whole,
            process.to_log(after=0, wanted=Wanted(category="order")) as orders,
            process.to_log(after=100, wanted=Wanted(type="order.placed")) as placed,
        ):
            found = [[*await places(each, 150)] for each in (whole, orders, placed)]
            await are_live(whole, orders, placed)
            await scene.writer.append(shop.happenings(50))
            await scene.ring_for_the_log(200)
            for so_far, each in zip(found, (whole, orders, placed), strict=True):
                so_far += await places(each, 200)
    stored = await scene.database.fetch("SELECT position, category, type FROM events ORDER BY position")
    assert found == [
        numbers(0, 200),
        [row["position"] for row in stored if row["category"] == "order"],
        [row["position"] for row in stored if row["type"] == "order.placed" and row["position"] > 100],
    ]


async def test_the_relay_rings_for_the_log_and_for_streams_that_can_be_followed(scene: Scene) -> None:
    stop, relay = asyncio.Event(), relay_of(scene.settings)
    running = asyncio.create_task(
        Relay(scene.database, scene.current.log, relay, RelayMetrics(CollectorRegistry())).run(stop)
    )
    async with scene.process() as process:
        with process.to_stream(scene.order_id, after=0) as stream, process.to_log(after=0) as log:
            await are_live(stream, log)
            for count in (1, 2, 150):
                last = await scene.happens(count)
                assert await places(stream, last) == numbers(last - count, last)
                assert await places(log, last) == numbers(last - count, last)
    stop.set()
    await running
