"""The documents in Redis: only ever replaced by newer ones, whatever order things happen in."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from infra.event_codec import CODEC
from infra.eventsourcing.configs import CacheConfig
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.read_cache import CacheAway, Document, Refresher
from infra.eventsourcing.read_cache.redis_cache import Place, RemoteCache
from infra.redis.keyspace import Keyspace
from tests.support.read_models import cache_at
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

A = Place("thing", 1, "a")
ONE, TWO, THREE = (Document(n, n, b'{"is":%d}' % n) for n in (1, 2, 3))


@pytest.fixture
def keys() -> Keyspace:
    return Keyspace.of(uuid4())


@pytest.fixture
async def reader(redis_url: str, keys: Keyspace) -> AsyncIterator[RemoteCache]:
    async with cache_at(redis_url, keys, answer_seconds=0.1) as cache:
        yield cache


@pytest.fixture
async def consumer(redis_url: str, keys: Keyspace) -> AsyncIterator[RemoteCache]:
    async with cache_at(redis_url, keys, answer_seconds=0.1) as cache:
        yield cache


@pytest.fixture
async def valkey(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def held(cache: RemoteCache, place: Place = A) -> Document | None:
    return (await cache.look(place)).document


async def filled(cache: RemoteCache) -> None:
    """Returns when all that was sent before is done."""
    await cache.look(Place("thing", 1, "nothing"))


async def store(cache: RemoteCache, document: Document, *places: Place) -> None:
    """As a reader does that misses and asks Postgres."""
    for place in places or (A,):
        cache.fill(place, await cache.look(place), document)
    await filled(cache)


async def only_key(valkey: Redis) -> bytes:
    (key,) = [key async for key in valkey.scan_iter("*:thing:1:a")]
    found: bytes = key
    return found


async def test_an_older_document_never_replaces_a_newer_one(consumer: RemoteCache) -> None:
    await store(consumer, ONE)
    assert await consumer.refresh([(A, TWO)]) == 1
    assert await consumer.refresh([(A, ONE)]) == 0
    assert await held(consumer) == TWO
    assert await consumer.refresh([(A, THREE)]) == 1
    assert await held(consumer) == THREE


async def test_positions_are_compared_as_numbers(consumer: RemoteCache) -> None:
    nine, ten = Document(9, 1, b"{}"), Document(10, 1, b"{}")
    await store(consumer, Document(8, 1, b"{}"))
    await consumer.refresh([(A, ten), (A, nine)])
    assert await held(consumer) == ten
    large, larger = Document(2**53 - 2, 1, b"{}"), Document(2**53 - 1, 1, b"{}")
    await consumer.refresh([(A, larger), (A, large)])
    assert await held(consumer) == larger


async def test_of_two_documents_of_one_position_none_is_kept(consumer: RemoteCache) -> None:
    again = Document(2, 2, b'{"is":"as it should be"}')
    await store(consumer, TWO)
    assert await consumer.refresh([(A, again)]) == 1
    assert await held(consumer) is None


async def test_the_same_document_once_more_changes_nothing(consumer: RemoteCache) -> None:
    await store(consumer, TWO)
    assert await consumer.refresh([(A, TWO)]) == 0
    assert await held(consumer) == TWO


async def test_a_consumer_does_not_bring_what_nobody_has_asked_for(consumer: RemoteCache, valkey: Redis) -> None:
    assert await consumer.refresh([(A, ONE)]) == 0
    assert not await valkey.keys("*:thing:1:a")


async def expected(cache: RemoteCache, *places: Place) -> dict[Place, bytes]:
    """The marks that are left."""
    asked = {place: cache.expect(place) for place in places}
    return {place: mark for place, (mark, answer) in asked.items() if await answer == b"OK"}


async def test_a_consumer_brings_what_it_expected_where_nothing_is(consumer: RemoteCache) -> None:
    marks = await expected(consumer, A)
    assert await consumer.refresh([(A, ONE)], marks) == 1
    assert await held(consumer) == ONE
    assert await expected(consumer, A) == {}, "there is something already"
    assert await held(consumer) == ONE


async def test_what_was_expected_and_is_there_by_now_or_gone_is_not_brought(
    consumer: RemoteCache, reader: RemoteCache, valkey: Redis
) -> None:
    marks = await expected(consumer, A)
    assert not (await reader.look(A)).mark, "who reads meanwhile fills nothing"
    await reader.refresh([(A, TWO)])
    assert await consumer.refresh([(A, ONE)], marks) == 0
    marks = await expected(consumer, A)
    assert marks
    await valkey.delete(await only_key(valkey))
    assert await consumer.refresh([(A, ONE)], marks) == 0
    assert not await valkey.keys("*:thing:1:a")


async def test_a_commit_does_not_wait_for_a_mark_that_does_not_come_and_none_that_comes_late_counts(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes late may have come behind the commit: then it would outlive what others have told since."""
    log = EventLog(log_id=uuid4(), shards=4, history=uuid4(), codec=CODEC)
    cache = CacheConfig(redis_url=SecretStr(redis_url), seconds=60, local_documents=10, local_bytes=1000)
    async with Refresher(cache, log).running() as refresher:
        remote, refreshed = refresher._remote, list[dict[Place, bytes]]()
        come: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        late: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answers = iter([come, late])
        monkeypatch.setattr(remote, "expect", lambda place: (place.key.encode(), next(answers)))

        async def refresh(_: object, marks: Mapping[Place, bytes]) -> int:
            refreshed.append(dict(marks))
            return 0

        monkeypatch.setattr(remote, "refresh", refresh)
        refresher.foresee("thing", 1, "come")
        refresher.foresee("thing", 1, "late")
        come.set_result(b"OK")
        await asyncio.wait_for(refresher.expect(), 5)
        assert late.cancelled()
        await refresher.refresh("thing", 1, [("come", ONE), ("late", ONE)])
        await refresher.refresh("thing", 1, [("come", TWO)])
        assert refreshed == [{Place("thing", 1, "come"): b"come"}, {}]


async def test_what_a_document_contains_does_not_disturb_its_frame(consumer: RemoteCache) -> None:
    odd = Document(5, 7, b'{"name":"9|9|?\\u0000\r\n$5|"}')
    await store(consumer, odd)
    assert await held(consumer) == odd


async def test_a_reader_that_misses_may_fill(reader: RemoteCache) -> None:
    missed = await reader.look(A)
    assert missed.mark
    reader.fill(A, missed, ONE)
    assert await held(reader) == ONE


async def test_only_the_first_that_misses_may_fill(reader: RemoteCache, consumer: RemoteCache) -> None:
    first, second = await reader.look(A), await consumer.look(A)
    assert first.mark
    assert not second.mark
    consumer.fill(A, second, ONE)
    await filled(consumer)
    assert await held(reader) is None


async def test_a_slow_fill_does_not_replace_what_was_refreshed_meanwhile(
    reader: RemoteCache, consumer: RemoteCache
) -> None:
    missed = await reader.look(A)
    await consumer.refresh([(A, TWO)])
    reader.fill(A, missed, ONE)
    assert await held(reader) is None


async def test_a_slow_fill_does_not_take_the_place_of_a_newer_document_that_was_evicted(
    reader: RemoteCache, consumer: RemoteCache, valkey: Redis
) -> None:
    missed = await reader.look(A)
    await consumer.refresh([(A, TWO)])
    await store(consumer, TWO)
    await valkey.delete(await only_key(valkey))
    reader.fill(A, missed, ONE)
    await filled(reader)
    assert not await valkey.keys("*:thing:1:a")


async def test_a_slow_fill_does_not_use_the_mark_of_another(
    reader: RemoteCache, consumer: RemoteCache, valkey: Redis
) -> None:
    slow = await reader.look(A)
    await valkey.delete(await only_key(valkey))
    quick = await consumer.look(A)
    reader.fill(A, slow, ONE)
    await filled(reader)
    assert await held(reader) is None
    consumer.fill(A, quick, TWO)
    assert await held(consumer) == TWO


async def test_a_fill_from_before_a_wipe_is_not_taken(reader: RemoteCache, valkey: Redis) -> None:
    missed = await reader.look(A)
    await valkey.flushall()
    reader.fill(A, missed, ONE)
    await filled(reader)
    assert not await valkey.keys("*:thing:1:a")


async def test_who_found_nothing_gives_the_mark_back(reader: RemoteCache) -> None:
    reader.fill(A, await reader.look(A), None)
    assert (await reader.look(A)).mark


async def test_a_mark_does_not_last(reader: RemoteCache, valkey: Redis) -> None:
    await reader.look(A)
    assert 0 < await valkey.pttl(await only_key(valkey)) <= 1000


async def test_a_deleted_row_keeps_older_documents_out(reader: RemoteCache, consumer: RemoteCache) -> None:
    await store(reader, ONE)
    await consumer.refresh([(A, Document(2, 0, b""))])
    await consumer.refresh([(A, ONE)])
    found = await held(reader)
    assert found is not None
    assert (found.position, found.body) == (2, b"")


async def test_documents_do_not_last_and_do_not_end_together(consumer: RemoteCache, valkey: Redis) -> None:
    await store(consumer, ONE, *[Place("thing", 1, str(n)) for n in range(50)])
    lives = {await valkey.pttl(key) async for key in valkey.scan_iter("*:thing:1:*")}
    assert max(lives) <= 60_000
    assert max(lives) - min(lives) > 1_000


async def test_generations_do_not_see_each_other(consumer: RemoteCache) -> None:
    await store(consumer, ONE)
    assert await held(consumer, A._replace(generation=2)) is None


async def test_more_than_a_batch_is_refreshed_whole(consumer: RemoteCache) -> None:
    places = [Place("thing", 1, str(n)) for n in range(1_000)]
    await store(consumer, ONE, *places)
    assert await consumer.refresh([(place, TWO) for place in places]) == 1_000
    assert [await held(consumer, place) for place in (places[0], places[-1])] == [TWO, TWO]


async def test_the_memory_of_an_earlier_server_is_not_read(reader: RemoteCache, consumer: RemoteCache) -> None:
    await store(consumer, ONE)
    # What a restart from an old snapshot, or a replica promoted without the last writes, looks like: the same keys
    # under a server that is another run.
    reader.link.era = "another0"
    missed = await reader.look(A)
    assert missed.document is None
    assert missed.mark


async def test_a_server_that_hangs_is_given_up_soon_and_taken_up_again(
    reader: RemoteCache, consumer: RemoteCache, valkey: Redis
) -> None:
    await store(consumer, ONE)
    await valkey.client_pause(600)
    started = asyncio.get_running_loop().time()
    with pytest.raises(CacheAway):
        await reader.look(A)
    assert asyncio.get_running_loop().time() - started < 0.4
    assert not reader.link.up
    with pytest.raises(CacheAway):
        await reader.look(A)
    assert await reader.link.ready(5)
    assert await held(reader) == ONE


async def test_a_full_server_still_answers_what_it_holds(
    reader: RemoteCache, consumer: RemoteCache, valkey: Redis
) -> None:
    await store(consumer, ONE)
    before = await valkey.config_get("maxmemory*")
    try:
        await valkey.config_set("maxmemory-policy", "noeviction")
        await valkey.config_set("maxmemory", "1")
        assert await held(reader) == ONE
        missed = await reader.look(Place("thing", 1, "b"))
        assert (missed.document, missed.mark) == (None, b"")
        with pytest.raises(CacheAway):
            await consumer.refresh([(A, TWO)])
        assert reader.link.up
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await valkey.config_set(name, before[name])


async def test_a_server_that_became_a_replica_is_left(consumer: RemoteCache, valkey: Redis) -> None:
    await store(consumer, ONE)
    refuse = cast(Callable[..., Awaitable[object]], valkey.replicaof)
    await refuse("127.0.0.1", "1")
    try:
        with pytest.raises(CacheAway):
            await consumer.refresh([(A, TWO)])
        assert not consumer.link.up
    finally:
        await refuse("NO", "ONE")
    assert await consumer.link.ready(5)
    assert await consumer.refresh([(A, THREE)]) == 1


async def test_a_server_that_forgot_the_scripts_is_told_again(consumer: RemoteCache, valkey: Redis) -> None:
    await store(consumer, ONE)
    await valkey.script_flush()

    async def refreshed() -> bool:
        try:
            return await consumer.refresh([(A, TWO)]) == 1
        except CacheAway:
            return False

    assert not await refreshed()
    await eventually(refreshed)


# What is no document


async def spoil(valkey: Redis) -> bytes:
    """Leaves a stream where the only key was; answers its name."""
    key = await only_key(valkey)
    await valkey.delete(key)
    await valkey.xadd(key, {"e": "x"})
    return key


async def spoiled(valkey: Redis, cache: RemoteCache) -> None:
    """Leaves a stream where a document was."""
    await store(cache, ONE)
    await spoil(valkey)


async def test_a_refresh_takes_away_what_is_of_another_type_and_brings_the_rest(
    consumer: RemoteCache, valkey: Redis
) -> None:
    other = Place("thing", 1, "b")
    await store(consumer, ONE, other)
    await spoiled(valkey, consumer)
    assert await consumer.refresh([(A, TWO), (other, TWO)]) == 1
    assert not await valkey.keys("*:thing:1:a")
    assert await held(consumer, other) == TWO
    assert consumer.link.up


async def test_a_reader_fills_where_something_of_another_type_was(reader: RemoteCache, valkey: Redis) -> None:
    await spoiled(valkey, reader)
    await store(reader, TWO)
    assert await held(reader) == TWO
    assert reader.link.up


async def test_what_took_the_place_of_a_mark_is_taken_away_by_a_fill(reader: RemoteCache, valkey: Redis) -> None:
    for document in (ONE, None):
        missed = await reader.look(A)
        key = await spoil(valkey)
        reader.fill(A, missed, document)
        await filled(reader)
        assert not await valkey.exists(key)
    assert reader.link.up


async def test_where_a_stream_lies_nothing_is_expected_or_brought(consumer: RemoteCache, valkey: Redis) -> None:
    await spoiled(valkey, consumer)
    marks = await expected(consumer, A)
    assert not marks
    assert await consumer.refresh([(A, TWO)], marks) == 0
    assert (await consumer.look(A)).mark, "it is as evicted"


async def test_a_text_that_is_no_document_is_none_and_is_taken_away(reader: RemoteCache, valkey: Redis) -> None:
    for text in ("garbage", "one|1|{}", "1|1"):
        await store(reader, ONE)
        key = await only_key(valkey)
        await valkey.set(key, text)
        found = await reader.look(A)
        assert (found.document, found.mark) == (None, b"")
        await filled(reader)
        assert not await valkey.exists(key)
