"""Who is at a place, across processes that come, go and die."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from infra.errors import Unavailable
from infra.redis.keyspace import Keyspace
from infra.redis.presence import Presence
from infra.redis.topology.library import Client, open_redis
from infra.settings import Settings
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

ROOM, ADA, BOB = uuid4(), uuid4(), uuid4()
SOON = 0.3


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Client]:
    async with open_redis(settings.redis_url) as client:
        yield client


def process(redis: Client, seconds: float = 60) -> Presence:
    return Presence(redis, Keyspace.of(UUID(int=7)), seconds=seconds)


async def test_who_is_here_is_known_in_every_process_until_the_last_socket_of_theirs_is_gone(redis: Client) -> None:
    ours, theirs = process(redis), process(redis)
    with ours.at(ROOM, ADA), theirs.at(ROOM, BOB):
        with ours.at(ROOM, ADA), theirs.at(ROOM, ADA):
            await asyncio.gather(ours.beat(), theirs.beat())
            assert await ours.who_is_at(ROOM) == await theirs.who_is_at(ROOM) == frozenset({ADA, BOB})
            assert await ours.who_is_at(uuid4()) == frozenset()
        await asyncio.gather(ours.beat(), theirs.beat())
        assert await theirs.who_is_at(ROOM) == frozenset({ADA, BOB})
    await asyncio.gather(ours.close(), theirs.close())
    assert await ours.who_is_at(ROOM) == frozenset()


async def test_who_comes_back_between_two_beats_was_never_away(redis: Client) -> None:
    ours = process(redis)
    with ours.at(ROOM, ADA):
        await ours.beat()
    with ours.at(ROOM, ADA):
        await ours.beat()
        assert await ours.who_is_at(ROOM) == frozenset({ADA})
    await ours.close()


async def test_whoever_was_at_a_process_that_died_is_gone_in_time(redis: Client) -> None:
    ours, dead = process(redis), process(redis, SOON)
    with ours.at(ROOM, BOB), ExitStack() as never_left:
        never_left.enter_context(dead.at(ROOM, ADA))
        await asyncio.gather(ours.beat(), dead.beat())
        assert await ours.who_is_at(ROOM) == frozenset({ADA, BOB})

        async def gone() -> bool:
            return await ours.who_is_at(ROOM) == frozenset({BOB})

        await eventually(gone)
    await ours.close()


async def test_whoever_was_at_a_process_that_died_before_the_clock_was_set_back_is_gone(redis: Client) -> None:
    """They would be told of for as long as the clock of Redis was set back."""
    ours, dead = process(redis), process(redis, 60 + 900)
    with ExitStack() as never_left:
        never_left.enter_context(dead.at(ROOM, ADA))
        await dead.beat()
        assert await ours.who_is_at(ROOM) == frozenset()
        with ours.at(ROOM, BOB):
            await ours.beat()
            assert await ours.who_is_at(ROOM) == frozenset({BOB})
    await ours.close()


async def test_while_redis_is_away_nobody_can_tell_and_all_is_told_when_it_is_back(redis: Client) -> None:
    nowhere = open_redis(SecretStr("redis://127.0.0.1:1/0"))
    ours = process(nowhere)
    with ours.at(ROOM, ADA):
        with pytest.raises(Unavailable):
            await ours.beat()
        assert await ours.who_is_at(ROOM) is None
        ours._redis = redis
        await ours.beat()
        assert await ours.who_is_at(ROOM) == frozenset({ADA})
    await ours.close()
    await nowhere.aclose()
