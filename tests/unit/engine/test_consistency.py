"""The token of a write, and waiting for it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.eventsourcing.consistency_token import InvalidToken, decode, encode
from infra.eventsourcing.read_cache.visibility import ProjectionShard, Sight, Visibility

pytestmark = pytest.mark.anyio

PART = ProjectionShard("order_summary", 1, 3)

positions = st.dictionaries(st.integers(0, 63), st.integers(1, 2**63 - 1), max_size=64)


@given(positions)
def test_a_token_says_what_was_put_into_it(needs: dict[int, int]) -> None:
    assert decode(encode(needs)) == needs


def test_a_token_is_short_and_safe_in_a_header() -> None:
    token = encode({3: 1_234_567, 5: 1_234_568})
    assert len(token) <= 20
    assert token.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=60))
def test_rubbish_is_no_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        decode(text)


@given(positions.filter(bool), st.integers(0), st.integers(1, 127))
def test_a_token_with_a_changed_byte_is_no_token(needs: dict[int, int], place: int, change: int) -> None:
    token = bytearray(encode(needs).encode())
    token[place % len(token)] = (token[place % len(token)] + change) % 128
    with pytest.raises(InvalidToken):
        decode(token.decode())


@pytest.mark.parametrize("more", ["=", "==", "\n=", "!", "A", ".", "*"])
def test_nor_is_one_with_something_behind_it(more: str) -> None:
    with pytest.raises(InvalidToken):
        decode(encode({3: 1_234_567}) + more)


def test_of_several_tokens_the_most_is_asked() -> None:
    assert decode(encode({1: 5, 2: 9}) + "," + encode({1: 7})) == {1: 7, 2: 9}


def test_too_many_tokens_are_refused() -> None:
    with pytest.raises(InvalidToken):
        decode(",".join([encode({1: 1})] * 17))


async def test_a_position_that_was_told_is_seen_at_once() -> None:
    visibility = Visibility()
    visibility.told(PART, 10)
    assert await visibility.reach(PART, 10) is Sight.TOLD


async def test_a_position_that_only_postgres_knows_is_seen_as_stored() -> None:
    visibility = Visibility()
    visibility.told(PART, 9)
    visibility.stored(PART, 10)
    assert await visibility.reach(PART, 9) is Sight.TOLD
    assert await visibility.reach(PART, 10) is Sight.STORED


async def test_each_waits_for_its_own_position() -> None:
    visibility = Visibility()
    seven, nine = (asyncio.create_task(visibility.reach(PART, position)) for position in (7, 9))
    await asyncio.sleep(0)
    visibility.told(PART, 8)
    assert await seven is Sight.TOLD
    assert not nine.done()
    visibility.told(PART, 9)
    assert await nine is Sight.TOLD
    assert not visibility.waiting


async def test_news_of_another_shard_wakes_nobody() -> None:
    visibility = Visibility()
    waiting = asyncio.create_task(visibility.reach(PART, 7))
    await asyncio.sleep(0)
    visibility.told(PART._replace(shard=2), 100)
    await asyncio.sleep(0)
    assert not waiting.done()
    visibility.stored(PART, 7)
    assert await waiting is Sight.STORED


async def test_old_news_does_not_take_a_position_back() -> None:
    visibility = Visibility()
    visibility.told(PART, 9)
    visibility.told(PART, 4)
    assert visibility.position(PART) == 9


async def test_a_switch_of_generations_sends_who_waits_to_ask_again() -> None:
    visibility = Visibility()
    waiting = asyncio.create_task(visibility.reach(PART, 7))
    await asyncio.sleep(0)
    visibility.moved(PART.projection, PART.generation)
    assert await waiting is Sight.MOVED
    assert not visibility.waiting


async def test_who_gives_up_leaves_nothing_behind() -> None:
    visibility = Visibility()
    waiting = [asyncio.create_task(visibility.reach(PART, position)) for position in range(1, 101)]
    await asyncio.sleep(0)
    for task in waiting[10:]:
        task.cancel()
    await asyncio.wait(waiting[10:])
    assert visibility.waiting
    visibility.told(PART, 10)
    assert await asyncio.gather(*waiting[:10]) == [Sight.TOLD] * 10
    assert not visibility.waiting
