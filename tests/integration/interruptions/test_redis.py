"""What is asked of Redis, and cancelled at any wait: nobody has another's answer, and what was to be told is told."""

import asyncio
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from infra.eventsourcing.read_cache import Document
from infra.eventsourcing.read_cache.redis_cache import Place, RemoteCache
from infra.rate_limits.gcra import Rate, Spending
from infra.rate_limits.local_limiter import Meter, Settlement
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from infra.redis.pipeline import PipelineConnection
from infra.redis.presence import Presence
from infra.redis.resp import pack
from infra.redis.topology.library import open_redis
from infra.settings import Settings
from tests.support.interruption import Moment, at_each_wait, leftovers
from tests.support.read_models import cache_at, world
from tests.support.write_side import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("moment", Moment)]

KEYS = Keyspace.of(UUID(int=7))
ROOM, ADA = uuid4(), uuid4()
RATE = Rate(10, 3600)


async def test_a_connection_is_closed_by_whoever_does_not_get_it(redis_url: str, moment: Moment) -> None:
    async def converse() -> None:
        wire = await PipelineConnection.connect(SecretStr(redis_url))
        try:
            assert await wire.ask(pack("PING", "1") + pack("PING", "2"), 2) == [b"1", b"2"]
            assert await wire.ask_one(pack("PING", "3")) == b"3"
        finally:
            wire.close()

    async with leftovers() as left:
        async for _ in at_each_wait(lambda _: converse(), moment):
            await left.none()


async def test_every_reader_of_the_cache_has_their_own_answer(redis_url: str, moment: Moment) -> None:
    documents = {Place("thing", 1, name): Document(1, 1, name.encode()) for name in "abcdef"}

    async def fill(cache: RemoteCache, place: Place) -> None:
        cache.fill(place, await cache.look(place), documents.get(place, Document(1, 1, b"more")))

    async def use(cache: RemoteCache, number: int) -> None:
        await fill(cache, Place("thing", 1, str(number)))
        assert await cache.refresh([*documents.items()]) == 0
        await cache.publish(b"{}")

    async with cache_at(redis_url, Keyspace.of(uuid4())) as cache, leftovers() as left:
        for place in documents:
            await fill(cache, place)
        async for cut in at_each_wait(lambda place: use(cache, place), moment):
            found = await asyncio.gather(*map(cache.look, documents))
            assert [held.document for held in found] == [*documents.values()], cut
            await left.none()


async def test_a_reader_who_is_gone_takes_no_answer_away_from_who_waits_for_the_same(
    settings: Settings, moment: Moment
) -> None:
    async with world(settings) as there, there.reader() as reader:

        async def hears() -> bool:
            return reader.reads.channel.up

        async def read(position: int) -> None:
            assert await reader.fresh(str(position), position) == "{}"

        async def read_with_another(position: int) -> None:
            other = asyncio.create_task(read(position))
            beginning = asyncio.create_task(there.consumer.write(str(position), position, "{}"))
            try:
                await read(position)
            finally:
                others.extend((other, beginning))

        others = list[asyncio.Task[None]]()
        await eventually(hears)
        async with leftovers(there.database, reader.database) as left:
            async for _ in at_each_wait(read_with_another, moment):
                await asyncio.gather(*others)
                others.clear()
                await left.none()
                assert not reader.reads.visibility.waiting


async def test_who_has_gone_is_told_to_have_gone_at_the_end_of_the_process(redis_url: str, moment: Moment) -> None:
    """The beat that would have told it is cut off as the process ends."""
    async with open_redis(SecretStr(redis_url)) as redis, leftovers() as left:
        processes = [Presence(redis, KEYS) for _ in range(20)]
        for each in processes:
            with each.at(ROOM, ADA):
                await each.beat()
        async for cut in at_each_wait(lambda place: processes[place].beat(), moment):
            await processes[cut.place].close()
            await left.none()
        for each in processes:
            await each.close()
        assert await processes[0].who_is_at(ROOM) == frozenset()


async def test_requests_that_were_counted_here_are_counted_once_by_all(redis_url: str, moment: Moment) -> None:
    """The settlement that would have told them is cut off as the process ends, which settles a last time."""
    throttle = Throttle(SecretStr(redis_url), KEYS, secret=bytes(16), patience=1.0)
    meters = [Meter(f"read-{number}", RATE) for number in range(20)]

    async def settle(number: int) -> None:
        await Settlement(throttle, [meters[number]]).settle()

    async with throttle.running(), leftovers() as left:
        for meter in meters:
            meter.take("ada")
        async for cut in at_each_wait(settle, moment):
            await settle(cut.place)
            (debt,) = await throttle.settle([Spending(meters[cut.place].policy, "ada", RATE, 0)])
            assert debt == pytest.approx(RATE.interval, rel=0.5), cut
            await left.none()
