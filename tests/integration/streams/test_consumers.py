"""Consumers: every event once and in order, whatever happens to streams, servers and fellow workers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.settings import Settings
from tests.support.consumers import SHARDED, WHOLE_LOG, Recorder, Scene, both
from tests.support.consumers import scene as opened
from tests.support.event_logs import LogWriter
from tests.support.proxy import Proxy
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

NOWHERE = SecretStr("redis://127.0.0.1:1/0")


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


@asynccontextmanager
async def proxied(url: SecretStr) -> AsyncIterator[tuple[Proxy, SecretStr]]:
    proxy = Proxy(url.get_secret_value())
    await proxy.open()
    try:
        yield proxy, SecretStr(proxy.url)
    finally:
        await proxy.close()


async def owner(scene: Scene, consumer: str, shard: int) -> object:
    rows = await scene.database.fetch(
        "SELECT owner FROM checkpoints WHERE consumer = $1 AND shard = $2", consumer, shard
    )
    return rows[0][0] if rows else None


async def test_every_event_comes_once_and_in_order(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        for _ in range(20):
            await scene.happens(15)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


@pytest.mark.parametrize("whole", [True, False], ids=["the whole log", "shards"])
async def test_an_event_that_comes_alone_is_applied_at_once_and_those_that_follow_soon_share_a_commit(
    scene: Scene, whole: bool
) -> None:
    """In whichever shards they are: the rest is that of the consumer, not of each of its places."""
    resting = Recorder(whole=whole, rest=2.0)
    async with scene.relay(), scene.process([resting], lease_seconds=10.0) as host:
        began = monotonic()
        await scene.happens(1)
        await scene.all_seen(resting.name)
        for _ in range(8):
            position = await scene.happens(1)
            await eventually(partial(taken, host, position), 10)
        await scene.all_seen(resting.name)
        assert resting.commits[0] == 1
        assert len(resting.commits) < sum(resting.commits) == 9
        assert len(resting.commits) <= (monotonic() - began) / 2.0 + 1


async def taken(host: Host, position: int) -> bool:
    """Whether the process has the event, applied or not."""
    driver = host.drivers[0]
    return any(driver.readers.position(lease) >= position for lease in driver.leases.values())


async def test_commits_that_were_lost_with_the_server_are_noticed_and_made_again(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        async with scene.database.write() as session:
            await session.execute("UPDATE checkpoints SET position = 0 WHERE consumer = $1", SHARDED)
            await session.execute("DELETE FROM seen WHERE consumer = $1", SHARDED)
        await scene.all_seen(SHARDED)


async def test_what_happened_before_anybody_looked_is_read_from_postgres(scene: Scene) -> None:
    await scene.happens(3_000)
    async with scene.process(both()):
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_without_redis_it_goes_on(scene: Scene) -> None:
    async with scene.process(both(), redis_url=NOWHERE):
        for _ in range(10):
            await scene.happens(10)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_a_wipe_of_redis_in_the_middle_loses_and_doubles_nothing(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        for number in range(30):
            await scene.happens(10)
            if number % 5 == 0:
                await scene.redis.flushall()
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_streams_that_are_cut_off_too_early_lose_nothing(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        for _ in range(20):
            await scene.happens(20)
            for key in await scene.redis.keys("*events*"):
                await scene.redis.xtrim(key, maxlen=1, approximate=False)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_garbage_in_a_stream_is_passed_over(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        last = await scene.happens(20)
        await scene.all_seen(SHARDED)
        for key in await scene.redis.keys("*events*"):
            await scene.redis.xadd(key, {"e": b"{"}, id=f"{last}-7")
            await scene.redis.xadd(key, {"x": b""}, id=f"{last}-8")
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_streams_that_somebody_makes_texts_of_lose_nothing_and_are_heard_again(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()) as host:
        await scene.happens(40)
        await scene.all_seen(SHARDED)
        await eventually(lambda: is_up(host))
        for key in await scene.redis.keys("*events*"):
            await scene.redis.set(key, "garbage")
        await eventually(lambda: is_deaf(host))
        await scene.happens(40)
        await scene.all_seen(SHARDED)
        await eventually(lambda: is_up(host))
        await scene.happens(40)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_while_redis_is_away_it_goes_on_and_afterwards_too(scene: Scene) -> None:
    async with (
        proxied(scene.settings.redis_url) as (proxy, url),
        scene.relay(redis_url=url),
        scene.process(both(), redis_url=url) as host,
    ):
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        await proxy.close()
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)
        await proxy.open()
        await eventually(lambda: is_up(host))
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def is_up(host: object) -> bool:
    return bool(host.feed.up)  # type: ignore[attr-defined]


async def is_deaf(host: object) -> bool:
    return not await is_up(host)


async def test_a_redis_that_does_not_answer_holds_nobody_up(scene: Scene) -> None:
    async with (
        proxied(scene.settings.redis_url) as (proxy, url),
        scene.relay(redis_url=url),
        scene.process(both(), redis_url=url),
    ):
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        proxy.stall()
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)
        proxy.resume()


async def test_after_postgres_was_away_it_goes_on_where_it_was(scene: Scene) -> None:
    async with (
        proxied(scene.settings.database_url) as (proxy, url),
        scene.relay(),
        scene.process(both(), database_url=url),
    ):
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        await proxy.close()
        await scene.happens(50)
        await proxy.open()
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_two_processes_share_the_shards(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()) as one, scene.process(both()) as other:

        async def shared() -> bool:
            held = [len(each.leases) for each in (one, other)]
            return sum(held) == scene.log.shards + 1 and min(held) >= 2

        await eventually(shared)
        for _ in range(10):
            await scene.happens(20)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


async def test_shards_change_hands_under_load_without_a_double(scene: Scene) -> None:
    async with scene.relay():
        for _ in range(3):
            async with scene.process(both()):
                await scene.happens(100)
                async with scene.process(both()):
                    await scene.happens(100)
                    await asyncio.sleep(0)
                await scene.happens(100)
        async with scene.process(both()):
            await scene.all_seen(SHARDED)
            await scene.all_seen(WHOLE_LOG)


async def test_who_leaves_gives_everything_back_at_once(scene: Scene) -> None:
    async with scene.process(both()):
        await scene.happens(10)
        await scene.all_seen(SHARDED)
    rows = await scene.database.fetch("SELECT count(*) FROM checkpoints WHERE owner IS NOT NULL")
    assert rows[0][0] == 0
    assert await scene.database.fetch("SELECT FROM workers") == []


async def test_events_of_no_concern_move_the_checkpoint_too(scene: Scene) -> None:
    async with scene.relay(), scene.process(both()):
        await scene.happens(50)
        repriced = [each for each in scene.shop.happenings(400) if "Repriced" in type(each.event).__name__]
        await scene.writer.append(repriced[:5])
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)


@asynccontextmanager
async def paused_owner(scene: Scene, *, fenced: bool) -> AsyncIterator[Callable[[], None]]:
    """An owner that stops in the middle of a step, long enough for another to have taken over and done the work.

    Its step and its heartbeat stand still alike, as in a process that is paused. Gives what lets it go on.
    """
    going_on = asyncio.Event()
    sleeper = Recorder(whole=False, fenced=fenced, pause=going_on)
    async with proxied(scene.settings.database_url) as (proxy, url):

        def wake() -> None:
            proxy.resume()
            going_on.set()

        # It would wait a minute for its own heartbeat; the other one takes it for dead after a second without.
        async with scene.process([sleeper], database_url=url, lease_seconds=60.0):
            await scene.happens(50)
            await asyncio.wait_for(sleeper.begun.wait(), 10)
            proxy.stall()
            async with scene.process([Recorder(whole=False)]):
                await scene.all_seen(SHARDED)
                yield wake


async def test_an_owner_that_wakes_up_after_another_took_over_writes_nothing(scene: Scene) -> None:
    async with paused_owner(scene, fenced=True) as wake:
        wake()
        await scene.happens(50)
        await scene.all_seen(SHARDED)


async def test_without_the_fence_it_would_write_everything_again(scene: Scene) -> None:
    async with paused_owner(scene, fenced=False) as wake:
        wake()

        async def doubled() -> bool:
            return [len(await scene.seen(SHARDED, shard)) for shard in range(scene.log.shards)] > [
                len(await scene.wanted(shard)) for shard in range(scene.log.shards)
            ]

        await eventually(doubled)


async def test_an_epoch_that_was_raised_fences_even_where_the_position_is_right(scene: Scene) -> None:
    sharded = [Recorder(whole=False)]
    # With a lease so long that no heartbeat tells it first.
    async with scene.relay(), scene.process(sharded, lease_seconds=60.0) as host:
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        await scene.database.execute("UPDATE checkpoints SET epoch = epoch + 1")
        await scene.happens(50)
        await scene.all_seen(SHARDED)
        assert host.metrics[SHARDED].fenced._value.get() >= 1


async def lag(registry: CollectorRegistry, unit: str) -> float:
    value = registry.get_sample_value(f"weir_projection_lag_{unit}", {"projection": SHARDED})
    assert value is not None
    return value


async def test_the_lag_is_told_in_events_and_seconds_also_while_postgres_is_away(scene: Scene) -> None:
    registry = CollectorRegistry()

    async def complete() -> bool:
        return await lag(registry, "events") == 0 and await lag(registry, "seconds") < 1.0

    async def late() -> bool:
        return await lag(registry, "seconds") > 1.5

    async with (
        proxied(scene.settings.database_url) as (proxy, url),
        scene.process([Recorder(whole=False)], "tests", RuntimeMetrics(registry), database_url=url),
    ):
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        await eventually(complete)
        await proxy.close()
        await eventually(late)
        await proxy.open()
        await eventually(complete, 10)


async def test_what_nobody_works_on_is_told_as_late_by_those_who_live(scene: Scene) -> None:
    registry = CollectorRegistry()
    await scene.happens(20)

    async def late() -> bool:
        return await lag(registry, "events") > 0 and await lag(registry, "seconds") > 0.5

    async with scene.process([Recorder(whole=False)]):
        await scene.all_seen(SHARDED)
    async with scene.writer.session.transaction():
        await scene.writer.session.execute("SELECT FROM checkpoints FOR UPDATE")
        async with scene.process([Recorder(whole=False)], "tests", RuntimeMetrics(registry)):
            async with connected(scene.settings.database_url.get_secret_value()) as other:
                await LogWriter(other, scene.log.shards, scene.writer.versions).append(scene.shop.happenings(20))
            await eventually(late)


async def test_a_cold_log_is_read_by_a_few_at_a_time_and_no_lease_is_lost_over_it(scene: Scene) -> None:
    await scene.happens(6_000)
    with capture_logs() as logs:
        async with scene.projector(pool_size=4):
            await scene.kept(30)
    assert "leases dropped" not in {each["event"] for each in logs}
