"""Rates that processes share, on a real Valkey: exact in a storm, paid off by time alone, soon given up when away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import blake2b
from time import perf_counter
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from infra.errors import Unavailable
from infra.rate_limits.gcra import Rate, Spending
from infra.rate_limits.redis_limiter import Throttle
from infra.redis.keyspace import Keyspace
from tests.support.wire import Wire, wire_to

pytestmark = pytest.mark.anyio

RATE = Rate(10, 100)
SECRET = bytes(range(32))


@pytest.fixture
def keys() -> Keyspace:
    return Keyspace.of(uuid4())


@pytest.fixture
async def throttles(redis_url: str, keys: Keyspace) -> AsyncIterator[list[Throttle]]:
    """Three, as three processes have them."""
    async with AsyncExitStack() as stack:
        three = [Throttle(SecretStr(redis_url), keys, secret=SECRET) for _ in range(3)]
        yield [await stack.enter_async_context(throttle.running()) for throttle in three]


async def test_fifty_at_once_from_three_processes_get_exactly_the_quota(throttles: list[Throttle]) -> None:
    asked = [throttles[number % 3].take("login", "ada", RATE) for number in range(50)]
    standings = await asyncio.gather(*asked)
    assert sum(standing.allowed for standing in standings) == RATE.quota
    refused = [standing for standing in standings if not standing.allowed]
    assert {standing.remaining for standing in refused} == {0}
    assert all(9 <= standing.retry_after <= 10 for standing in refused)
    assert sorted(standing.remaining for standing in standings if standing.allowed) == list(range(10))


async def test_policies_and_subjects_do_not_share(throttles: list[Throttle]) -> None:
    throttle, once = throttles[0], Rate(1, 100)
    places = [("login", "ada"), ("login", "bob"), ("mail", "ada")]
    assert [(await throttle.take(*place, once)).allowed for place in places] == [True] * 3
    assert [(await throttle.take(*place, once)).allowed for place in places] == [False] * 3


async def test_time_pays_the_debt_and_the_keys_are_gone_when_it_is_paid(
    throttles: list[Throttle], redis_url: str, keys: Keyspace
) -> None:
    quick = Rate(5, 1)
    for _ in range(7):
        last = await throttles[0].take("login", "ada@example.com", quick)
    assert not last.allowed
    await asyncio.sleep(0.25)
    assert (await throttles[0].take("login", "ada@example.com", quick)).allowed
    async with Redis.from_url(redis_url) as redis:
        (name,) = [name async for name in redis.scan_iter(f"{keys.prefix}limit:*")]
        assert 0 < await redis.pttl(name) <= 1000
        assert b"ada@" not in name
        await asyncio.sleep(1.05)
        assert await redis.exists(name) == 0


async def test_a_debt_of_a_clock_that_was_set_back_is_paid_back_like_any_other(
    throttles: list[Throttle], redis_url: str, keys: Keyspace
) -> None:
    """Who had asked once before Redis's clock was set back an hour would have been refused for an hour."""
    await throttles[0].take("login", "ada", RATE)
    async with Redis.from_url(redis_url) as redis:
        (name,) = [name async for name in redis.scan_iter(f"{keys.prefix}limit:*")]
        await redis.set(name, int(await redis.get(name)) + 3_600_000_000, ex=3700)
        refused = await throttles[1].take("login", "ada", RATE)
        assert (refused.allowed, refused.retry_after) == (False, 10)
        assert 0 < await redis.pttl(name) <= RATE.seconds * 1000


async def test_who_sees_redis_cannot_try_names_and_addresses_until_one_fits(
    throttles: list[Throttle], redis_url: str, keys: Keyspace
) -> None:
    """Whatever stands in the name, nothing in it is enough to make the digest of a guess."""
    await throttles[0].take("login", "192.0.2.7", RATE)
    async with Redis.from_url(redis_url) as redis:
        (name,) = [name async for name in redis.scan_iter(f"{keys.prefix}limit:*")]
        *rest, digest = name.decode().split(":")
        seen = {text[:end].encode() for text in (":".join(rest),) for end in range(len(text) + 1)}
        guessed = {blake2b(b"192.0.2.7", digest_size=12, key=key).hexdigest() for key in seen}
        assert digest not in guessed
        async with Throttle(SecretStr(redis_url), keys, secret=bytes(32)).running() as other:
            assert (await other.take("login", "192.0.2.7", RATE)).remaining == RATE.quota - 1, "under another name"


async def test_what_is_given_back_can_be_taken_again(throttles: list[Throttle]) -> None:
    first, second, _ = throttles
    for _ in range(RATE.quota):
        await first.take("login", "ada", RATE)
    await second.settle([Spending("login", "ada", RATE, -1)])
    assert [(await first.take("login", "ada", RATE)).allowed for _ in range(2)] == [True, False]
    await second.settle([Spending("login", "ada", RATE, -50)])
    assert (await first.take("login", "ada", RATE)).remaining == RATE.quota - 1


async def test_what_has_happened_is_counted_but_never_beyond_a_full_debt(throttles: list[Throttle]) -> None:
    debts = await throttles[0].settle([Spending("read", name, RATE, 7) for name in ("ada", "bob", "ada")])
    assert [round(debt or 0) for debt in debts] == [70, 70, 100]
    assert not (await throttles[1].take("read", "ada", RATE)).allowed


async def test_many_are_settled_in_one_go(throttles: list[Throttle]) -> None:
    debts = await throttles[0].settle([Spending("read", str(number), RATE, 1) for number in range(500)])
    assert all(debt is not None and 9 < debt <= 10 for debt in debts)


async def test_a_place_once_known_is_known_to_all(throttles: list[Throttle]) -> None:
    assert not await throttles[0].knows("known", "ada")
    await throttles[0].remember("known", "ada", 60)
    assert await throttles[1].knows("known", "ada")
    assert not await throttles[1].knows("known", "bob")


async def test_a_forgotten_script_is_brought_again(throttles: list[Throttle], redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.script_flush()
    assert (await throttles[0].take("login", "ada", RATE)).allowed
    assert (await throttles[0].take("login", "ada", RATE)).remaining == 8


@pytest.fixture
async def wire(redis_url: str) -> AsyncIterator[Wire]:
    async with wire_to(redis_url) as wire:
        yield wire


async def test_a_server_that_is_away_costs_a_tenth_of_a_second_and_is_found_again(wire: Wire, keys: Keyspace) -> None:
    async with Throttle(SecretStr(wire.url), keys, secret=SECRET).running() as throttle:
        await throttle.take("login", "ada", RATE)
        await wire.cut()
        began = perf_counter()
        with pytest.raises(Unavailable):
            await throttle.take("login", "ada", RATE)
        assert perf_counter() - began < 0.5
        assert await throttle.settle([Spending("read", "ada", RATE, 1)]) == [None]
        await wire.mend()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await throttle.take("login", "ada", RATE)).remaining <= 8
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)


async def test_a_server_that_does_not_answer_is_not_waited_for(keys: Keyspace) -> None:
    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    throttle = Throttle(SecretStr(url), keys, secret=SECRET)
    began = perf_counter()
    with pytest.raises(Unavailable):
        await throttle.take("login", "ada", RATE)
    assert perf_counter() - began < 0.5
    server.close()
