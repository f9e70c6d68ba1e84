"""A cluster of three nodes carries streams, documents and all else; slots move, and nodes go, under load."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from pydantic import SecretStr

from infra.embedded import Valkey
from infra.eventsourcing.read_cache import Document
from infra.eventsourcing.read_cache.redis_cache import Place
from infra.eventsourcing.relay.relay import Relay
from infra.rate_limits.gcra import Rate
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from infra.redis.presence import Presence
from infra.redis.topology.holders import slot_of
from infra.redis.topology.library import open_redis
from infra.settings import Settings
from tests.support.consumers import SHARDED, WHOLE_LOG, Scene, both
from tests.support.consumers import scene as opened
from tests.support.read_models import Reader, World, world
from tests.support.redis_servers import Cluster, ask, cluster, kill
from tests.support.streaming import flowing, goes_on, happening
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path_factory.mktemp("cluster")) as them:
        yield them


@pytest.fixture
async def clustered(nodes: Cluster, settings: Settings) -> Settings:
    """What a process is told whose Redis is the cluster; it is empty, and whole."""
    await nodes.whole()
    for node in nodes.nodes:
        await ask(node, "FLUSHALL")
    return settings.model_copy(update={"redis_url": SecretStr(nodes.url), "arq_redis_url": settings.redis_url})


@pytest.fixture
async def scene(clustered: Settings) -> AsyncIterator[Scene]:
    async with opened(clustered) as it:
        yield it


@pytest.fixture
async def shop(clustered: Settings) -> AsyncIterator[World]:
    async with world(clustered) as it:
        yield it


async def holder(nodes: Cluster, key: str) -> Valkey:
    """The node that has the key's slot."""
    for first, last, (_, port, *_), *_ in await ask(nodes.nodes[0], "CLUSTER", "SLOTS"):
        if first <= slot_of(key) <= last:
            return next(node for node in nodes.nodes if node.port == port)
    raise LookupError(key)


async def test_streams_lie_on_all_nodes_and_every_event_comes_once_and_in_order_and_by_them(
    nodes: Cluster, scene: Scene
) -> None:
    async with scene.relay(), scene.process(both()) as host:
        await flowing(host, scene)
        for _ in range(20):
            await scene.happens(15)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)
    keys = Keyspace.of(scene.log.history)
    held = {(await holder(nodes, keys.events(shard))).port for shard in range(scene.log.shards)}
    assert len(held) == 3


async def test_a_slot_that_moves_under_load_takes_its_stream_along(nodes: Cluster, scene: Scene) -> None:
    stream = Keyspace.of(scene.log.history).events(0)
    source = await holder(nodes, stream)
    target = next(node for node in nodes.nodes if node is not source)
    async with scene.relay(), scene.process(both()) as host:
        await flowing(host, scene)
        async with happening(scene):
            await nodes.begin_to_move(slot_of(stream), source, target)
            await nodes.carry(slot_of(stream), source, target)
            await goes_on(scene)
            await nodes.end_move(slot_of(stream), source, target)
        await flowing(host, scene)
        assert await ask(target, "EXISTS", stream) == 1
    await nodes.move(slot_of(stream), target, source)


async def test_what_a_node_held_that_comes_back_empty_is_read_from_postgres(nodes: Cluster, scene: Scene) -> None:
    stream = Keyspace.of(scene.log.history).events(0)
    lost = await holder(nodes, stream)
    async with scene.relay(), scene.process(both()) as host:
        await flowing(host, scene)
        async with happening(scene):
            await kill(lost)
            await goes_on(scene)
            await lost.start()
        await nodes.whole()
        await flowing(host, scene)
        assert await ask(lost, "EXISTS", stream) == 1


async def test_each_node_has_its_own_room_for_the_streams_that_lie_there(nodes: Cluster, scene: Scene) -> None:
    small = nodes.nodes[0]
    await ask(small, "CONFIG", "SET", "maxmemory", 8 * 2**20)
    try:
        async with scene.relay(stream_bytes=64 * 2**20) as relay:
            last = await scene.happens(50)
            await eventually(lambda: carried(relay, last))
            rooms = {room.streams: room.budget for room in relay.publisher.rooms.all}
    finally:
        await ask(small, "CONFIG", "SET", "maxmemory", "256mb")
    for streams, budget in rooms.items():
        there = await holder(nodes, streams[0])
        share = 64 * 2**20 * len(streams) // scene.log.shards
        assert budget == (min(share, 4 * 2**20) if there is small else share)
    assert sum(len(streams) for streams in rooms) == scene.log.shards


async def carried(relay: Relay, position: int) -> bool:
    return relay.publisher.cursor >= position


async def test_documents_are_at_their_nodes_and_news_of_them_comes_in_order(nodes: Cluster, shop: World) -> None:
    names = [f"thing-{number}" for number in range(30)]
    async with shop.reader() as reader:
        for place, name in enumerate(names, 1):
            await shop.consumer.write(name, place, f'"{place}"')
        for place, name in enumerate(names, 1):
            assert await reader.fresh(name, place) == f'"{place}"'
        await reader.filled()
    sizes = [await ask(node, "DBSIZE") for node in nodes.nodes]
    assert all(sizes)
    async with shop.reader() as another:
        for place, name in enumerate(names, 1):
            assert await another.get(name) == f'"{place}"'
            await shop.consumer.write(name, 100 + place, '"new"')
            assert await another.fresh(name, 100 + place) == '"new"'
        assert another.things.tally.stored == 0


async def test_a_document_whose_slot_is_on_its_way_is_read_and_refreshed_where_it_is(
    nodes: Cluster, shop: World
) -> None:
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader() as reader:
        assert await reader.get("a") == '"one"'
        await reader.filled()
        remote = reader.reads.remote
        key = f"{Keyspace.of(shop.log.history).prefix}c:{remote.link.era}:thing:1:a"
        source = await holder(nodes, key)
        target = next(node for node in nodes.nodes if node is not source)
        assert await ask(source, "EXISTS", key) == 1
        await nodes.begin_to_move(slot_of(key), source, target)
        await nodes.carry(slot_of(key), source, target)
        await shop.consumer.write("a", 2, '"two"')
        assert (await remote.look(Place("thing", 1, "a"))).document == Document(2, 2, b'"two"')
        await nodes.end_move(slot_of(key), source, target)
        await shop.consumer.write("a", 3, '"three"')
        assert (await remote.look(Place("thing", 1, "a"))).document == Document(3, 3, b'"three"')
        assert remote.link.up
    await nodes.move(slot_of(key), target, source)


async def test_memory_that_a_node_has_lost_is_another_for_all(nodes: Cluster, shop: World) -> None:
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader() as reader:
        assert await reader.get("a") == '"one"'
        before = reader.reads.remote.link.era
        await kill(nodes.nodes[1])
        assert await reader.get("a") == '"one"'
        await nodes.nodes[1].start()
        await nodes.whole()
        await eventually(lambda: is_another(shop, reader, before), 10)
        await shop.consumer.write("a", 2, '"two"')
        assert await reader.fresh("a", 2) == '"two"'


async def is_another(shop: World, reader: Reader, before: str) -> bool:
    eras = {reader.reads.remote.link.era, shop.consumer.refresher.era}
    return reader.reads.remote.link.up and reader.reads.channel.up and len(eras) == 1 and before not in eras


async def test_rates_and_presence_are_counted_at_the_nodes_of_their_keys(clustered: Settings) -> None:
    keys = Keyspace.of(uuid4())
    rate = Rate(2, 60)
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                Throttle(clustered.redis_url, keys, secret=b"s" * 16, patience=1.0).running()
            )
            for _ in range(2)
        ]
        for subject in map(str, range(20)):
            assert (await one.take("write", subject, rate)).allowed
            assert (await two.take("write", subject, rate)).allowed
            assert not (await one.take("write", subject, rate)).allowed
        redis = open_redis(clustered.redis_url)
        stack.push_async_callback(redis.aclose)
        here, there = Presence(redis, keys), Presence(redis, keys)
        places, who = [uuid4() for _ in range(20)], uuid4()
        for place in places:
            stack.enter_context(here.at(place, who))
        await here.beat()
        assert [await there.who_is_at(place) for place in places] == [frozenset({who})] * 20
