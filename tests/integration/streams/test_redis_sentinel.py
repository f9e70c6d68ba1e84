"""A pair under Sentinels: whoever they call the master is written to, and nobody else, however often it changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations

import pytest
from pydantic import SecretStr

from infra.eventsourcing.relay.append_notifier import Doorbell
from infra.redis.client import BROKEN
from infra.redis.job_queue import close_jobs, open_jobs
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to
from infra.redis.topology.holders import locate
from infra.redis.topology.library import open_redis
from infra.redis.topology.url import place_of
from infra.settings import Settings
from tests.support.consumers import SHARDED, WHOLE_LOG, Scene, both
from tests.support.consumers import scene as opened
from tests.support.read_models import World, world
from tests.support.redis_servers import Watched, ask, kill, watched
from tests.support.streaming import flowing, goes_on, happening
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    async with watched(tmp_path_factory.mktemp("pair")) as them:
        yield them


@pytest.fixture
async def settings(pair: Watched, settings: Settings) -> Settings:
    """What a process is told whose Redis is the pair, and empty."""
    await ask(await pair.master(), "FLUSHALL")
    return settings.model_copy(update={"redis_url": SecretStr(pair.url)})


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as it:
        yield it


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[World]:
    async with world(settings) as it:
        yield it


async def test_a_master_is_killed_and_all_goes_on_at_the_replica(pair: Watched, scene: Scene) -> None:
    former, replica = await pair.master(), await pair.replica()
    async with scene.relay(), scene.process(both()) as host:
        await flowing(host, scene)
        async with happening(scene):
            await kill(former)
            await goes_on(scene)
            await pair.master_is(replica)
        await flowing(host, scene)
        await former.start()  # as a master, until the Sentinels tell it what it is
        await flowing(host, scene)
        assert await ask(former, "KEYS", "*events*") == []
        await pair.follow(former, replica)
        await flowing(host, scene)


async def test_documents_of_a_former_master_are_read_no_more(pair: Watched, shop: World) -> None:
    former, replica = await pair.master(), await pair.replica()
    await shop.consumer.write("a", 1, '"one"')
    async with shop.reader() as reader:
        assert await reader.get("a") == '"one"'
        before = reader.reads.remote.link.era
        await pair.fail_over()
        await pair.master_is(replica)

        async def moved() -> bool:
            eras = {reader.reads.remote.link.era, shop.consumer.refresher.era, reader.reads.channel.run}
            return reader.reads.remote.link.up and reader.reads.channel.up and len(eras) == 1 and before not in eras

        await eventually(moved, 10)
        await shop.consumer.write("a", 2, '"two"')
        assert await reader.fresh("a", 2) == '"two"'
    await pair.follow(former, replica)


async def test_who_is_at_a_server_that_became_a_replica_is_refused_and_finds_the_master(
    pair: Watched, scene: Scene
) -> None:
    former, other = await pair.master(), await pair.replica()
    async with scene.relay(), scene.process(both()) as host:
        await flowing(host, scene)
        await ask(other, "REPLICAOF", "NO", "ONE")
        await ask(former, "REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(BROKEN):
            await connect_to(SecretStr(pair.url), "")
        await scene.happens(20)
        await scene.all_seen(SHARDED)
        await scene.all_seen(WHOLE_LOG)
        await pair.told(other)
        await flowing(host, scene)


async def test_jobs_and_what_else_the_library_asks_find_the_master_anew(pair: Watched, settings: Settings) -> None:
    former, replica = await pair.master(), await pair.replica()
    jobs, redis = open_jobs(settings.jobs_url, "weir:jobs"), open_redis(settings.redis_url)
    bell = Doorbell(settings.redis_url, "bell")
    assert await jobs.enqueue_job("tidy") is not None
    await pair.fail_over()
    await pair.master_is(replica)
    assert await jobs.enqueue_job("tidy") is not None
    assert await redis.set("a", "1")
    bell.ring()
    await bell.close()
    await close_jobs(jobs)
    await redis.aclose()
    assert await ask(replica, "EXISTS", "a", "weir:jobs") == 2
    await pair.follow(former, replica)


async def test_who_is_at_a_master_that_is_cut_off_and_takes_writes_all_the_same_leaves_it(pair: Watched) -> None:
    former, other = await pair.master(), await pair.replica()
    lost = asyncio.Event()
    wire = await connect_to(SecretStr(pair.url), "", None, lost.set)
    assert await wire.ask_one(pack("SET", "a", "1")) == b"OK"
    await ask(other, "REPLICAOF", "NO", "ONE")
    await pair.told(other)
    assert await ask(former, "SET", "a", "2") == b"OK"
    async with asyncio.timeout(5):
        await lost.wait()
    assert place_of((await locate(SecretStr(pair.url))).of("")) == ("127.0.0.1", other.port)


@asynccontextmanager
async def sentinel(port: int, epoch: int | None) -> AsyncIterator[int]:
    """One that names this master, and how new that is; or that says nothing at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        if epoch is not None:
            writer.write(pack("ip", "127.0.0.1", "port", str(port), "config-epoch", str(epoch)))
        await reader.read(1_000)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_of_sentinels_that_name_different_masters_the_newest_word_counts_and_the_silent_hold_nobody_up() -> None:
    async with sentinel(1111, 7) as old, sentinel(2222, 8) as new, sentinel(3333, None) as silent:
        for order in permutations((old, new, silent)):
            places = ",".join(f"127.0.0.1:{port}" for port in order)
            holders = await locate(SecretStr(f"redis+sentinel://{places}/mymaster"))
            assert place_of(holders.of("")) == ("127.0.0.1", 2222)
