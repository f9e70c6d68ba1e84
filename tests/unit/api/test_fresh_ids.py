"""Which ids are of a moment ago, and how many may wait for such a one."""

from contextlib import ExitStack, suppress
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from api.queries.fresh_ids import FRESH_SECONDS, SKEW_SECONDS, FreshIds, is_fresh
from api.uuid7 import new_id

NOW = 1_796_000_000_000
"""Milliseconds."""
RANDOM = st.integers(0, (1 << 74) - 1)


def made_at(milliseconds: int, random: int = 0) -> UUID:
    high, low = random >> 62, random & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low)


@given(age=st.integers(-5_000, 5_000) | st.integers(-NOW // 2, NOW), random=RANDOM)
def test_an_id_is_fresh_for_two_seconds_and_a_little_ahead_of_the_clock(age: int, random: int) -> None:
    fresh = -SKEW_SECONDS * 1000 <= age < FRESH_SECONDS * 1000
    assert is_fresh(made_at(NOW - age, random), NOW / 1000) is fresh


@given(number=st.integers(0, (1 << 80) - 1), form=st.integers(0, 15).filter(lambda each: each != 7))
def test_an_id_of_another_form_is_never_fresh(number: int, form: int) -> None:
    other = UUID(int=NOW << 80 | number & ~(0xF << 76) | form << 76)
    assert not is_fresh(other, NOW / 1000)


def test_an_id_of_now_is_fresh_and_a_random_one_is_not() -> None:
    fresh = FreshIds()
    with fresh.place(new_id(), "ada") as taken, fresh.place(uuid4(), "ada") as random:
        assert (taken, random) == (True, False)


def fresh_ids() -> FreshIds:
    return FreshIds(clock=lambda: NOW / 1000, most=5, of_one=2)


def test_one_caller_takes_no_more_than_their_share_and_all_together_no_more_than_there_is() -> None:
    fresh = fresh_ids()
    with ExitStack() as stack:
        taken = [
            (caller, stack.enter_context(fresh.place(made_at(NOW), caller)))
            for caller in ("ada", "bob", "ada", "ada", "bob", "eve", "eve")
        ]
        assert [caller for caller, is_taken in taken if is_taken] == ["ada", "bob", "ada", "bob", "eve"]
        assert fresh.waiting == 5
    assert fresh.waiting == 0


def test_an_old_id_takes_no_place() -> None:
    fresh = fresh_ids()
    with fresh.place(made_at(NOW - 2_000), "ada") as taken:
        assert (taken, fresh.waiting) == (False, 0)


def test_a_place_is_given_back_whatever_became_of_the_wait() -> None:
    fresh = fresh_ids()
    for _ in range(3):
        with suppress(RuntimeError), fresh.place(made_at(NOW), "ada") as taken:
            assert taken
            raise RuntimeError
    assert fresh.waiting == 0
