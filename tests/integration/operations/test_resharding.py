"""The number of shards is changed: every event is applied once and in order by every consumer, before and after."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from cli.operations.shards import DERIVED
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EVENT, identify, log_head
from infra.eventsourcing.projections.generations import outdated
from infra.eventsourcing.projections.rebuild import begin, build, finish, renew, shares
from infra.eventsourcing.resharding import MOST, Behind, NotAlone, Resharded, hold, nobody_else, reshard
from infra.postgres.pool import Connection
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from projections.registry import BY_SHARD, PROJECTIONS
from tests.conftest import SHARDS
from tests.support.consumers import SHARDED, WHOLE_LOG, Scene, both
from tests.support.consumers import scene as opened
from tests.support.event_logs import Shop
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as it:
        yield it


@pytest.fixture
async def alone(scene: Scene) -> Scene:
    """One that nobody but recorders reads."""
    await scene.database.execute("DELETE FROM checkpoints")
    return scene


async def changed(scene: Scene, shards: int) -> Resharded:
    """What the command does once it is alone; the scene goes on with the log that there is then."""
    async with connected(scene.settings.database_url.get_secret_value()) as session, session.transaction():
        await hold(session)
        done = await reshard(session, shards, derived=DERIVED, by_shard=BY_SHARD, lease_seconds=1.0)
    async with scene.database.session() as pooled:
        scene.log = await identify(pooled, CODEC)
    scene.writer.shards = shards
    return done


async def state(scene: Scene) -> list[Any]:
    """All that a change of shards changes."""
    statements = (
        "SELECT shards, history FROM log_head",
        "SELECT position, shard FROM events ORDER BY 1",
        "SELECT consumer, generation, shard, position FROM checkpoints ORDER BY 1, 2, 3",
        "SELECT projection, generation, code_version FROM generations ORDER BY 1, 2",
    )
    return [await scene.writer.session.fetch(statement) for statement in statements]


async def all_applied(scene: Scene) -> None:
    for consumer in (SHARDED, WHOLE_LOG):
        await scene.reached(consumer)


async def each_once_and_in_order(scene: Scene, consumer: str) -> None:
    await scene.reached(consumer)
    rows = await scene.database.fetch(
        "SELECT s.position, e.stream_id, e.version FROM seen s JOIN events e USING (position) "
        "WHERE s.consumer = $1 ORDER BY s.number",
        consumer,
    )
    assert sorted(row["position"] for row in rows) == await scene.wanted(-1)
    latest: dict[object, int] = {}
    for row in rows:
        assert row["version"] > latest.get(row["stream_id"], 0)
        latest[row["stream_id"]] = row["version"]


async def test_whatever_the_number_becomes_each_event_is_applied_once_and_in_order(alone: Scene) -> None:
    """On the way consumers stand at other places each time; while one has anything left to do, nothing changes."""
    scene = alone
    for shards, many, left in ((16, 60, 9), (1, 0, 1), (7, 25, 40), (3, 80, 0), (MOST, 5, 3)):
        async with scene.relay(), scene.process(both()):
            await scene.happens(many + 1)
            await all_applied(scene)
        if left:
            await scene.happens(left)
            before = await state(scene)
            with pytest.raises(Behind, match=SHARDED):
                await changed(scene, shards)
            assert await state(scene) == before
            async with scene.process(both()):
                await all_applied(scene)
        await changed(scene, shards)
        events = await scene.database.fetch("SELECT stream_id, shard FROM events")
        assert {row["shard"] for row in events} <= set(range(shards))
        async with scene.relay(), scene.process(both()) as host:
            await scene.happens(30)
            for consumer in (SHARDED, WHOLE_LOG):
                await each_once_and_in_order(scene, consumer)
            assert len({place.shard for place in host.leases if place.consumer == SHARDED}) == shards


async def test_read_models_are_as_a_fold_of_the_log_and_those_with_a_row_for_each_shard_are_wanted_anew(
    scene: Scene,
) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(80)
        await scene.kept()
    await changed(scene, 6)
    assert {each.name for each in await outdated(scene.writer.session, PROJECTIONS)} == BY_SHARD
    sound = {name: each for name, each in PROJECTIONS.items() if name not in BY_SHARD}
    async with scene.relay(), scene.projector(sound):
        await scene.happens(80)
        for projection in sound.values():
            await scene.kept_by(projection)


async def test_what_is_wanted_anew_is_built_at_once_and_stands_where_all_others_are_put(scene: Scene) -> None:
    """At the head of the log in each shard: the last event of most shards comes before that."""
    async with scene.relay(), scene.projector():
        await scene.happens(80)
        await scene.kept()
    await changed(scene, 6)
    url = scene.settings.database_url
    async with connected(url.get_secret_value()) as session, asyncio.timeout(20):
        assert {*await renew(session, url, scene.log, PROJECTIONS)} == BY_SHARD
        head = await log_head(session)
        places = "SELECT shard FROM checkpoints WHERE consumer = $1 AND generation = 2 AND position = $2 ORDER BY shard"
        for name in BY_SHARD:
            assert [row[0] for row in await session.fetch(places, name, head)] == [*range(6)]
    async with scene.relay(), scene.projector():
        await scene.happens(80)
        for name, projection in PROJECTIONS.items():
            await scene.kept_by(projection, generation=2 if name in BY_SHARD else 1)


async def test_a_key_that_depends_on_the_shard_is_that_of_a_read_model_that_is_built_anew(scene: Scene) -> None:
    await scene.happens(200)
    rows = await scene.database.fetch(f"SELECT {EVENT} ORDER BY position")
    events = [scene.log.recorded(row) for row in rows]
    for projection in PROJECTIONS.values():
        theirs = [event for event in events if type(event.data) in (*projection.creates, *projection.handles)]
        dependent = any(projection.key(event) != projection.key(replace(event, shard=77)) for event in theirs)
        assert dependent == (projection.name in BY_SHARD)


async def test_the_streams_of_before_are_taken_away_also_those_that_no_shard_has_any_more(alone: Scene) -> None:
    scene = alone
    async with scene.relay():
        await scene.happens(40)
    await changed(scene, MOST)
    async with scene.relay():
        await scene.happens(40)
    many = Keyspace.of(scene.log.history)
    await changed(scene, 2)
    async with scene.relay() as relay:
        last = await scene.happens(10)

        async def carried() -> bool:
            return relay.publisher.cursor >= last

        await eventually(carried)
    assert await scene.redis.exists(*(many.events(shard) for shard in range(MOST))) == 0


async def test_while_a_worker_lives_nothing_changes(alone: Scene) -> None:
    scene = alone
    async with scene.relay(), scene.process(both()):
        await scene.happens(20)
        await all_applied(scene)
        before = await state(scene)
        with pytest.raises(NotAlone, match="tests on"):
            await changed(scene, 8)
    assert await state(scene) == before


async def test_while_anybody_else_is_connected_nothing_changes(alone: Scene) -> None:
    async with connected(alone.settings.database_url.get_secret_value()) as session, session.transaction():
        await hold(session)
        with pytest.raises(NotAlone):
            await nobody_else(session)


async def test_a_rebuild_that_was_killed_is_in_nobodys_way(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(20)
        await scene.kept()
    url = scene.settings.database_url
    async with connected(url.get_secret_value()) as session:
        await begin(session, scene.log, ORDER_SUMMARY)
    await changed(scene, 3)
    async with connected(url.get_secret_value()) as session:
        assert {*await renew(session, url, scene.log, PROJECTIONS)} == BY_SHARD
        building = await begin(session, scene.log, ORDER_SUMMARY)
        for share in await shares(session, building, 1):
            await build(session, building, share, lambda _events, _positions: None)
        assert (await finish(session, building)).retired == 1
    async with scene.relay(), scene.projector():
        await scene.happens(20)
        await scene.kept_by(ORDER_SUMMARY, generation=3)


async def weir(settings: Settings, *arguments: str) -> asyncio.subprocess.Process:
    told = {"DATABASE_URL": settings.database_url.get_secret_value()}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", *arguments),
        env={**os.environ, **told},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    out, _ = await process.communicate()
    return process.returncode, out.decode()


@asynccontextmanager
async def observing(settings: Settings) -> AsyncIterator[tuple[Connection, str]]:
    """A connection to another database of the server, which is in nobody's way, and the name of the one that is."""
    url = settings.database_url.get_secret_value()
    start, _, name = url.rpartition("/")
    async with connected(f"{start}/postgres") as connection:
        yield connection, name


async def test_killed_in_the_middle_all_is_as_before_and_the_next_one_does_it(settings: Settings) -> None:
    async with opened(settings) as scene:
        await scene.database.execute("DELETE FROM checkpoints")
        async with scene.relay(), scene.process(both()):
            await scene.happens(100)
            await all_applied(scene)
        # So that it is in the middle for long enough to be met there.
        await scene.writer.session.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$"
        )
        await scene.writer.session.execute(
            "CREATE TRIGGER linger AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION linger()"
        )
        before = await state(scene)
    async with observing(settings) as (connection, name):
        process = await weir(settings, "shards", "9")

        async def moving() -> bool:
            query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND query LIKE '%UPDATE events e%')"
            return bool(await connection.fetchval(query, name))

        await eventually(moving, 20)
        process.send_signal(signal.SIGKILL)
        await process.wait()

        async def gone() -> bool:
            return not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name)

        await eventually(gone, 30)
    async with opened(settings) as scene:
        assert await state(scene) == before
        await scene.writer.session.execute("DROP TRIGGER linger ON events")
    assert await ended(await weir(settings, "shards", "9")) == (
        0,
        f"the log has 9 shards, and had {SHARDS}; {await moved(settings, before)} events lie in another\n"
        "now run `weir migrate`, and start the processes\n",
    )
    async with opened(settings) as scene, scene.relay(), scene.process(both()):
        scene.shop = Shop.of(3)
        await scene.happens(30)
        for consumer in (SHARDED, WHOLE_LOG):
            await each_once_and_in_order(scene, consumer)


async def moved(settings: Settings, before: Sequence[Any]) -> int:
    """How many events lie in another shard than they did."""
    was = {row["position"]: row["shard"] for row in before[1]}
    async with connected(settings.database_url.get_secret_value()) as connection:
        now = {row[0]: row[1] for row in await connection.fetch("SELECT position, shard FROM events")}
    return sum(now[position] != was[position] for position in was)
