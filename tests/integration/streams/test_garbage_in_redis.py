"""What nobody here has written into Redis: it is passed over or taken away, and nothing fails of it for ever."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import pytest

from infra.eventsourcing.read_cache import Document
from infra.eventsourcing.read_cache.redis_cache import Place, RemoteCache
from infra.rate_limits.gcra import Rate
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from infra.redis.presence import Presence
from infra.redis.stream_memory import drop_other_histories
from infra.redis.topology.library import Client, open_redis
from infra.redis.topology.opening import open_wires
from infra.settings import Settings
from tests.support.read_models import cache_at
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

Put = Callable[[Client, str | bytes], Awaitable[Any]]
ROOM, ADA, BOB = uuid4(), uuid4(), uuid4()
A: Final = Place("thing", 1, "a")
ONE, TWO = (Document(n, n, b'{"is":%d}' % n) for n in (1, 2))
FOR_EVER: Final = float("inf")


def text(value: bytes) -> Put:
    return lambda redis, key: redis.set(key, value)


def one_of_a_set(value: bytes) -> Put:
    return lambda redis, key: redis.execute_command("SADD", key, value)


def here(name: bytes, until: float | None = None) -> Put:
    """Somebody is at the place for another minute, or until that time."""
    return lambda redis, key: redis.zadd(key, {name: time.time() + 60 if until is None else until})


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Client]:
    async with open_redis(settings.redis_url) as client:
        yield client


@pytest.fixture
def keys() -> Keyspace:
    return Keyspace.of(uuid4())


@pytest.fixture
async def cache(settings: Settings, keys: Keyspace) -> AsyncIterator[RemoteCache]:
    async with cache_at(settings.redis_url.get_secret_value(), keys) as opened:
        yield opened


async def spoil(redis: Client, keys: Keyspace, put: Put) -> None:
    """Puts something else in the place of the only key that there is."""
    (key,) = [key async for key in redis.scan_iter(f"{keys.prefix}*")]
    await redis.delete(key)
    await put(redis, key)


@pytest.mark.parametrize("put", [here(b"\xff"), here(b"nobody:1"), here(b"")], ids=["no text", "no id", "nothing"])
async def test_who_is_no_one_is_not_at_a_place(redis: Client, keys: Keyspace, put: Put) -> None:
    await put(redis, keys.present(ROOM))
    await here(f"{BOB}:1".encode())(redis, keys.present(ROOM))
    assert await Presence(redis, keys).who_is_at(ROOM) == frozenset({BOB})


@pytest.mark.parametrize(
    "put",
    [here(b"\xff", FOR_EVER), here(f"{BOB}:1".encode(), FOR_EVER), text(b"x"), one_of_a_set(b"x")],
    ids=["no one for ever", "one for ever", "a text", "another set"],
)
async def test_a_beat_puts_a_place_right(redis: Client, keys: Keyspace, put: Put) -> None:
    ours = Presence(redis, keys)
    await put(redis, keys.present(ROOM))
    with ours.at(ROOM, ADA):
        await ours.beat()
        assert await ours.who_is_at(ROOM) == frozenset({ADA})
        assert 0 < await redis.ttl(keys.present(ROOM)) < 60
    await ours.close()


NO_DOCUMENTS: Final = pytest.mark.parametrize(
    "put",
    [text(b"x"), text(b"\xff|\xff|x"), text(b"1|2"), text(b""), one_of_a_set(b"x")],
    ids=["a text", "no numbers", "too little", "nothing", "a set"],
)


async def held(cache: RemoteCache) -> Document | None:
    return (await cache.look(A)).document


@NO_DOCUMENTS
async def test_what_is_no_document_makes_room_for_one(
    cache: RemoteCache, redis: Client, keys: Keyspace, put: Put
) -> None:
    cache.fill(A, await cache.look(A), ONE)
    assert await held(cache) == ONE
    await spoil(redis, keys, put)
    assert await held(cache) is None

    async def filled() -> bool:
        cache.fill(A, await cache.look(A), TWO)
        return await held(cache) == TWO

    await eventually(filled)


@NO_DOCUMENTS
async def test_a_change_is_told_whatever_lies_in_the_place_of_its_document(
    cache: RemoteCache, redis: Client, keys: Keyspace, put: Put
) -> None:
    cache.fill(A, await cache.look(A), ONE)
    assert await held(cache) == ONE
    await spoil(redis, keys, put)
    await cache.refresh([(A, TWO)])
    assert await held(cache) in (None, TWO)
    assert cache.link.up


@pytest.mark.parametrize("put", [text(b"\xff"), one_of_a_set(b"x")], ids=["no number", "a set"])
async def test_what_is_no_debt_counts_for_nothing(settings: Settings, redis: Client, keys: Keyspace, put: Put) -> None:
    async with Throttle(settings.redis_url, keys, secret=bytes(32), patience=1).running() as throttle:
        rate = Rate(2, 60)
        first = await throttle.take("orders", "ada", rate)
        await spoil(redis, keys, put)
        after = await throttle.take("orders", "ada", rate)
        assert (first.allowed, after.allowed, after.debt) == (True, True, first.debt)


@pytest.mark.parametrize("put", [text(b"x"), one_of_a_set(b"\xff"), here(b"x")], ids=["a text", "no text", "sorted"])
async def test_what_is_no_history_is_taken_away(settings: Settings, redis: Client, keys: Keyspace, put: Put) -> None:
    own = Keyspace.of(uuid4())
    await put(redis, keys.histories)
    wires = await open_wires(settings.redis_url)
    try:
        await drop_other_histories(wires, keys, own, 2)
    finally:
        wires.close()
    assert [name async for name in redis.sscan_iter(keys.histories)] == [own.prefix.encode()]
