"""Counting in one process: nobody is held up, nobody exceeds the rate, and several processes come to agree."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.rate_limits.gcra import Rate, Spending
from infra.rate_limits.local_limiter import Meter, Settlement

pytestmark = pytest.mark.anyio

RATE = Rate(5, 10)


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Redis:
    """The common ledger as one dictionary, which may be away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._clear_at: dict[str, float] = {}
        self.away = False

    async def settle(self, spendings: Sequence[Spending]) -> Sequence[float | None]:
        return [None if self.away else self._count(spending) for spending in spendings]

    def _count(self, spending: Spending) -> float:
        debt = max(self._clear_at.get(spending.subject, 0) - self._clock.now, 0)
        debt = min(max(debt + spending.cost * spending.rate.interval, 0), spending.rate.seconds)
        self._clear_at[spending.subject] = self._clock.now + debt
        return debt


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(meter: Meter, subject: str, times: int) -> int:
    return sum(meter.take(subject).allowed for _ in range(times))


def test_a_quota_may_come_at_once_and_then_one_each_interval(clock: Clock) -> None:
    meter = Meter("read", RATE, clock=clock)
    assert taken(meter, "ada", 20) == 5
    clock.now += 1.9
    assert taken(meter, "ada", 20) == 0
    clock.now += 0.2
    assert taken(meter, "ada", 20) == 1
    clock.now += 100
    assert taken(meter, "ada", 20) == 5


def test_each_subject_has_its_own_quota(clock: Clock) -> None:
    meter = Meter("read", RATE, clock=clock)
    assert [taken(meter, one, 9) for one in ("ada", "bob")] == [5, 5]


def test_looking_costs_nothing_and_what_is_given_back_can_be_taken_again(clock: Clock) -> None:
    meter = Meter("password", RATE, clock=clock)
    for _ in range(50):
        assert meter.stands("ada").allowed
        assert meter.take("ada").allowed
        meter.give_back("ada")
    taken(meter, "ada", 5)
    assert not meter.stands("ada").allowed
    meter.give_back("ada")
    assert taken(meter, "ada", 5) == 1


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_sequence_of_requests_gets_more_than_the_rate(pauses: list[float]) -> None:
    clock = Clock()
    meter = Meter("read", RATE, clock=clock)
    began, allowed = clock.now, 0
    for pause in pauses:
        clock.now += pause
        allowed += meter.take("ada").allowed
    assert allowed <= RATE.quota + (clock.now - began) / RATE.interval + 1e-3


async def test_processes_that_have_settled_share_one_quota(clock: Clock) -> None:
    redis = Redis(clock)
    ours, theirs = (Meter("read", RATE, clock=clock) for _ in range(2))
    assert (taken(ours, "ada", 3), taken(theirs, "ada", 2)) == (3, 2)
    for meter in (ours, theirs, ours):
        ours.take("bob")
        await Settlement(redis, [meter]).settle()
        assert meter.spent() == []
    assert not theirs.take("ada").allowed
    taken(ours, "ada", 1)
    await Settlement(redis, [ours]).settle()
    assert not ours.stands("ada").allowed


async def test_a_storm_on_two_processes_is_not_held_against_anybody_for_longer_than_the_time_of_the_rate(
    clock: Clock,
) -> None:
    redis = Redis(clock)
    meters = [Meter("read", RATE, clock=clock) for _ in range(2)]
    for meter in meters:
        taken(meter, "ada", 100)
        await Settlement(redis, [meter]).settle()
    clock.now += RATE.seconds
    assert [taken(meter, "ada", 9) for meter in meters] == [5, 5]


async def test_without_the_others_a_process_keeps_the_rate_alone_and_settles_later(clock: Clock) -> None:
    redis = Redis(clock)
    ours, theirs = (Meter("read", RATE, clock=clock) for _ in range(2))
    redis.away = True
    assert taken(ours, "ada", 9) == 5
    await Settlement(redis, [ours]).settle()
    redis.away = False
    await Settlement(redis, [ours]).settle()
    theirs.take("ada")
    await Settlement(redis, [theirs]).settle()
    assert taken(theirs, "ada", 9) == 0


async def test_a_wiped_ledger_forgives_nothing_that_this_process_has_seen(clock: Clock) -> None:
    meter = Meter("read", RATE, clock=clock)
    taken(meter, "ada", 4)
    await Settlement(Redis(clock), [meter]).settle()
    meter.take("ada")
    await Settlement(Redis(clock), [meter]).settle()
    assert not meter.take("ada").allowed


def test_a_flood_of_subjects_cannot_grow_the_memory(clock: Clock) -> None:
    meter = Meter("read", RATE, most=100, clock=clock)
    for number in range(1000):
        meter.take(str(number))
        assert len(meter) <= 100
    assert len(meter.spent()) <= 100
    clock.now += 100
    taken(meter, "ada", 5)
    for number in range(49):
        meter.take(f"new {number}")
    assert not meter.take("ada").allowed
