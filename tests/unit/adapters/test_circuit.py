"""The circuit breaker: who keeps failing is left alone, asked once in a while, and never forgotten."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as some

from infra.concurrency.circuit_breaker import Breaker, Limits, Permit, State

LIMITS = Limits(failures=3, rest=2.0, most=30.0)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A breaker on a clock that is set by hand."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.breaker = Breaker(LIMITS, clock=self.clock)

    def state(self) -> State:
        return self.breaker.state

    def call(self) -> Permit:
        permit = self.breaker.admit()
        assert permit is not None
        return permit

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with self.call() as permit:
                permit.failed()

    def succeed(self) -> None:
        with self.call() as permit:
            permit.succeeded()

    def refused(self) -> bool:
        return self.breaker.admit() is None


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_opens_after_so_many_failures_in_a_row(bench: Bench) -> None:
    bench.fail(2)
    assert bench.state() is State.CLOSED
    bench.fail()
    assert bench.state() is State.OPEN
    assert bench.refused()


def test_a_success_between_failures_begins_the_count_anew(bench: Bench) -> None:
    bench.fail(2)
    bench.succeed()
    bench.fail(2)
    assert bench.state() is State.CLOSED


def test_when_its_time_is_over_one_call_is_let_through_and_no_other(bench: Bench) -> None:
    bench.fail(3)
    bench.clock.now += 2.0
    assert bench.state() is State.HALF_OPEN
    with bench.call() as probe:
        assert bench.refused()
        probe.succeeded()
    assert bench.state() is State.CLOSED
    bench.fail(2)
    assert bench.state() is State.CLOSED, "the failures from before are forgotten"


def test_each_probe_that_fails_doubles_the_time_up_to_a_bound(bench: Bench) -> None:
    bench.fail(3)
    for rest in (2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        bench.clock.now += rest - 0.01
        assert bench.refused()
        bench.clock.now += 0.01
        bench.fail()
    bench.clock.now += 30.0
    bench.succeed()
    bench.fail(3)
    bench.clock.now += 2.0
    assert not bench.refused(), "a success has made the times short again"


def test_being_told_to_wait_opens_it_at_once_for_that_long(bench: Bench) -> None:
    with bench.call() as permit:
        permit.failed(told_to_wait=90.0)
    bench.clock.now += 89.0
    assert bench.refused()
    bench.clock.now += 1.0
    bench.succeed()


def test_being_told_to_wait_not_at_all_is_a_failure_like_others(bench: Bench) -> None:
    with bench.call() as permit:
        permit.failed(told_to_wait=0.0)
    assert bench.state() is State.CLOSED


def test_a_probe_without_a_verdict_makes_room_for_another(bench: Bench) -> None:
    bench.fail(3)
    bench.clock.now += 2.0
    with pytest.raises(KeyError), bench.call():
        raise KeyError
    with bench.call():
        pass
    bench.succeed()
    assert bench.state() is State.CLOSED


def test_what_a_call_from_before_it_opened_comes_to_says_nothing_of_now(bench: Bench) -> None:
    early, late = bench.call(), bench.call()
    bench.fail(3)
    with early:
        early.succeeded()
    assert bench.state() is State.OPEN
    bench.clock.now += 2.0
    with bench.call() as probe:
        with late:
            late.failed()
        assert bench.state() is State.HALF_OPEN, "it is the probe that counts"
        assert bench.refused(), "and it is still the only one"
        probe.succeeded()
    assert bench.state() is State.CLOSED


STEPS = some.lists(
    some.one_of(
        some.just(("ask", 0.0)),
        some.tuples(some.sampled_from(["succeed", "fail", "drop"]), some.integers(0, 5).map(float)),
        some.tuples(some.just("told"), some.floats(0, 200)),
        some.tuples(some.just("wait"), some.floats(0, 50)),
    ),
    max_size=60,
)


@dataclass
class Run:
    """A breaker that anything happens to, in any order, with what has to hold written down beside it."""

    bench: Bench = field(default_factory=Bench)
    out: list[Permit] = field(default_factory=list)

    def step(self, what: str, number: float) -> None:
        if what == "wait":
            self.bench.clock.now += number
        elif what == "ask":
            self.ask()
        elif self.out:
            self.end(self.out.pop(int(number) % len(self.out)), what, number)

    def ask(self) -> None:
        before = self.bench.state()
        permit = self.bench.breaker.admit()
        assert (before is State.OPEN) <= (permit is None)
        assert (before is State.CLOSED) <= (permit is not None)
        if permit is not None:
            self.out.append(permit)
            if before is State.HALF_OPEN:
                assert self.bench.refused(), "one probe at a time"

    def end(self, permit: Permit, what: str, number: float) -> None:
        with permit:
            if what == "succeed":
                permit.succeeded()
            elif what != "drop":
                permit.failed(number if what == "told" else None)


@given(STEPS)
def test_whatever_happens_it_lets_through_what_it_may_and_never_gets_stuck(steps: list[tuple[str, float]]) -> None:
    run = Run()
    for what, number in steps:
        run.step(what, number)
    for permit in run.out:
        run.end(permit, "drop", 0)
    run.bench.clock.now += 200.0
    run.bench.succeed()
    assert run.bench.state() is State.CLOSED


@given(some.lists(some.booleans(), max_size=40))
def test_it_opens_exactly_where_failures_in_a_row_reach_the_limit(went_well: list[bool]) -> None:
    bench, row = Bench(), 0
    for well in went_well:
        if row == LIMITS.failures:
            assert bench.refused()
            return
        if well:
            bench.succeed()
        else:
            bench.fail()
        row = 0 if well else row + 1
        assert (bench.state() is State.OPEN) == (row == LIMITS.failures)
