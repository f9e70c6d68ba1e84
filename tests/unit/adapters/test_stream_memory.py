"""What streams may take of Redis' memory, and which of their entries go when they take more."""

import pytest
from hiredis import ReplyError

from infra.redis.stream_memory import LEAST, Memory, Window, memory_of

MB = 2**20


def memory(limit: int, policy: str = "volatile-lru") -> Memory:
    return Memory(limit=limit, used=0, policy=policy)


@pytest.mark.parametrize(
    ("limit", "most", "budget"),
    [
        (256 * MB, 128 * MB, 128 * MB),
        (1024 * MB, 128 * MB, 128 * MB),
        (64 * MB, 128 * MB, 32 * MB),
        (0, 128 * MB, 128 * MB),
    ],
)
def test_streams_take_half_of_the_limit_and_no_more_than_they_were_given(limit: int, most: int, budget: int) -> None:
    assert memory(limit).budget(most) == budget


def test_streams_have_something_however_small_the_server_is() -> None:
    assert memory(1).budget(128 * MB) == LEAST


def test_a_server_that_is_set_up_well_is_warned_of_in_no_way() -> None:
    assert memory(256 * MB).warnings(128 * MB) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (memory(0), "maxmemory is not set"),
        (memory(64 * MB), "maxmemory is 67108864"),
        (memory(256 * MB, "allkeys-lfu"), "evicts streams"),
        (memory(256 * MB, "noeviction"), "documents fill Redis"),
    ],
)
def test_each_thing_that_is_set_up_badly_is_told_with_what_to_do(found: Memory, words: str) -> None:
    (warning,) = found.warnings(128 * MB)
    assert words in warning


def test_what_redis_says_of_its_memory_is_read() -> None:
    said = b"# Memory\r\nused_memory:1000\r\nmaxmemory:2000\r\nmaxmemory_policy:noeviction\r\n"
    assert memory_of(said) == Memory(limit=2000, used=1000, policy="noeviction")


def test_a_server_that_may_not_be_asked_has_no_limit() -> None:
    assert memory_of(ReplyError("NOPERM")) == Memory(limit=0, used=0, policy="")


def window() -> Window:
    filled = Window()
    for last, size in ((10, 100), (25, 300), (30, 50)):
        filled.add(last, size)
    return filled


@pytest.mark.parametrize(("most", "first"), [(450, None), (449, 11), (350, 11), (349, 26), (50, 26), (49, 31), (0, 31)])
def test_the_oldest_stretches_go_until_the_rest_is_small_enough(most: int, first: int | None) -> None:
    assert window().first_within(most) == first


def test_what_has_gone_is_no_longer_counted() -> None:
    held = window()
    held.begin_at(11)
    assert (held.size, held.first_within(349)) == (350, 26)
