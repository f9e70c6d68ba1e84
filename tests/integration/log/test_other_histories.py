"""Streams, rows and memories of a history that the log no longer has: nothing of it is applied, and it is made good."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import orjson
import pytest

from domain.kernel.messages import shard_of
from infra.event_codec import CODEC
from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.event_log import begin_history, identify
from infra.eventsourcing.projections.rebuild import renew
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from projections.registry import PROJECTIONS
from tests.support.builders import ORDER_ID, order_placed
from tests.support.consumers import SHARDED, Recorder, Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import Shop, order
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


async def ghost(scene: Scene, position: int, stream: UUID) -> None:
    """An entry as the relay writes them, of an event that is not in the log."""
    shard = shard_of(stream, scene.log.shards)
    before = await scene.writer.session.fetchval(
        "SELECT coalesce(max(position), 0) FROM events WHERE shard = $1", shard
    )
    names = {"p": position, "v": before, "h": shard, "s": str(stream), "n": 1, "c": "order", "t": "order.gone", "u": 1}
    body = orjson.dumps({**names, "d": {}, "m": {}, "r": "2020-01-01T00:00:00.000001Z"})
    await scene.redis.xadd(Keyspace.of(scene.log.history).events(shard), {"e": body}, id=f"{position}-0")


async def test_what_a_stream_holds_beyond_the_log_is_not_applied_and_hides_nothing(scene: Scene) -> None:
    async with scene.process([Recorder(whole=False)]) as host:
        last = await scene.happens(20)
        await scene.all_seen(SHARDED)
        await ghost(scene, last + 1, ORDER_ID)
        await eventually(lambda: refused(host, SHARDED))
        await scene.all_seen(SHARDED)
        await scene.writer.append([order(ORDER_ID, order_placed())])
        await scene.happens(20)
        await scene.all_seen(SHARDED)


async def refused(host: Host, consumer: str) -> bool:
    return bool(host.metrics[consumer].strange._value.get())


async def alarmed(host: Host) -> bool:
    return bool(host.metrics["order_summary"].spoiled._value.get())


async def test_read_models_take_nothing_from_another_history_either(scene: Scene) -> None:
    async with scene.projector() as host:
        last = await scene.happens(20)
        await scene.kept()
        await ghost(scene, last + 1, ORDER_ID)
        await eventually(lambda: refused(host, "order_summary"))
        await scene.writer.append([order(ORDER_ID, order_placed())])
        await scene.kept()


async def put_back(scene: Scene, position: int) -> None:
    """The log as it was then, and with it all that was made of what came after."""
    async with scene.writer.session.transaction():
        await scene.writer.session.execute("DELETE FROM events WHERE position > $1", position)
        await scene.writer.session.execute("UPDATE log_head SET position = $1", position)
        await scene.writer.session.execute("DELETE FROM seen WHERE position > $1", position)
        await scene.writer.session.execute(
            "UPDATE checkpoints SET position = least(position, $1), event_position = NULL", position
        )
    await forget_what_is_gone(scene)


async def forget_what_is_gone(scene: Scene) -> None:
    """Those who write go on from the versions that there are."""
    rows = await scene.writer.session.fetch("SELECT stream_id, max(version) FROM events GROUP BY stream_id")
    scene.writer.versions = {row[0]: row[1] for row in rows}


@pytest.mark.parametrize("more", [10, 100])
async def test_a_log_that_is_put_back_under_a_running_relay_is_told_as_it_goes_on(scene: Scene, more: int) -> None:
    async with scene.relay(), scene.process([Recorder(whole=False)]):
        then = await scene.happens(30)
        await scene.happens(30)
        await scene.all_seen(SHARDED)
        await put_back(scene, then)
        last = await scene.happens(more)
        await scene.all_seen(SHARDED)

        async def published() -> bool:
            tails = [await scene.redis.xrevrange(Keyspace.of(scene.log.history).events(n), count=1) for n in range(4)]
            return max((int(tail[0][0].partition(b"-")[0]) for tail in tails if tail), default=0) == last

        await eventually(published, 10)
        async with scene.database.acquire() as session:
            assert (await identify(session, CODEC)).history != scene.log.history


async def test_a_relay_that_begins_with_streams_of_what_the_log_has_lost_gives_it_another_history(scene: Scene) -> None:
    async with scene.relay(), scene.process([Recorder(whole=False)]):
        then = await scene.happens(30)
        await scene.happens(30)
        await scene.all_seen(SHARDED)
    await put_back(scene, then)

    async def another() -> bool:
        async with scene.database.acquire() as session:
            return (await identify(session, CODEC)).history != scene.log.history

    assert not await another()
    async with scene.relay():
        await eventually(another)


async def test_of_several_who_find_that_the_log_was_put_back_one_gives_it_another_history(scene: Scene) -> None:
    await asyncio.gather(*(begin_history(scene.database, scene.log) for _ in range(4)))
    async with scene.database.acquire() as session:
        log = await identify(session, CODEC)
    await begin_history(scene.database, scene.log)
    async with scene.database.acquire() as session:
        assert await identify(session, CODEC) == log
    assert log.history != scene.log.history
    assert log.on("another").history not in (log.history, scene.log.on("another").history)


async def test_rows_of_events_that_the_log_lost_are_noticed_and_made_anew(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.writer.append([order(ORDER_ID, order_placed())])
        await scene.happens(60)
        await scene.kept()
    await scene.database.execute("UPDATE events SET recorded_at = recorded_at + interval '1 second'")
    async with scene.relay():
        async with scene.projector({"order_summary": ORDER_SUMMARY}) as host:
            await eventually(lambda: alarmed(host))
            assert not host.leases
        url = scene.settings.database_url
        async with connected(url.get_secret_value()) as session:
            assert await renew(session, url, scene.log, PROJECTIONS) == ["order_summary"]
        async with scene.projector({"order_summary": ORDER_SUMMARY}):
            await scene.happens(20)
            await scene.kept_by(ORDER_SUMMARY, generation=2)


async def test_what_is_made_anew_where_the_log_ends_earlier_goes_on_with_what_the_log_says_next(scene: Scene) -> None:
    async with scene.relay(), scene.projector({"order_summary": ORDER_SUMMARY}):
        then = await scene.happens(60)
        await scene.happens(60)
        await scene.kept_by(ORDER_SUMMARY)
    async with scene.writer.session.transaction():
        await scene.writer.session.execute("DELETE FROM events WHERE position > $1", then)
        await scene.writer.session.execute("UPDATE log_head SET position = $1", then)
        await scene.writer.session.execute("UPDATE generations SET code_version = 0 WHERE projection = 'order_summary'")
    await forget_what_is_gone(scene)
    scene.shop = Shop.of(3)
    url = scene.settings.database_url
    async with connected(url.get_secret_value()) as session, asyncio.timeout(20):
        assert await renew(session, url, scene.log, PROJECTIONS) == ["order_summary"]
    async with scene.relay(), scene.projector({"order_summary": ORDER_SUMMARY}):
        await scene.happens(20)  # fewer than are gone
        await scene.kept_by(ORDER_SUMMARY, generation=2)


async def test_a_log_has_one_history_until_its_server_begins_another(scene: Scene) -> None:
    async with scene.database.acquire() as session:
        assert (await identify(session, CODEC)).history == scene.log.history
    assert scene.log.history != scene.log.log_id
