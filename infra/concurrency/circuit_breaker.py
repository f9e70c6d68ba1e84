"""A circuit breaker: who keeps failing is left alone for a while, then asked once, and by all when that went well.

::

    closed ──so many failures in a row, or told to wait──▶ open ──time is over──▶ half-open: one probe
       ▲                                                    ▲                        │       │
       └────────────────────────────────── success ─────────│────────────────────────┘       │
                                                            └──────────── failure ───────────┘

The circuit is a value and these are functions of it and of the time; :class:`Breaker` is one process's copy.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from time import monotonic
from types import TracebackType
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """``failures`` in a row open a circuit: for ``rest`` seconds, then twice as long each time, up to ``most``."""

    failures: int = 5
    rest: float = 2.0
    most: float = 60.0


class State(StrEnum):
    """How a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """``failures`` and ``openings`` count in a row. It is closed where ``until`` is None.

    ``turn`` counts how often it has opened and closed: the verdict on a call that was let through in an earlier turn
    says nothing of this one. ``probing`` while the one call of a half-open circuit is under way.
    """

    failures: int = 0
    openings: int = 0
    until: float | None = None
    probing: bool = False
    turn: int = 0

    def state(self, now: float) -> State:
        """How it stands at a time."""
        if self.until is None:
            return State.CLOSED
        return State.HALF_OPEN if self.probing or now >= self.until else State.OPEN

    def lets_through(self, now: float) -> bool:
        """Whether a call may be made."""
        return self.until is None or (now >= self.until and not self.probing)


def admitted(circuit: Circuit) -> Circuit:
    """After a call was let through."""
    return circuit if circuit.until is None else replace(circuit, probing=True)


def succeeded(circuit: Circuit, turn: int) -> Circuit:
    """After a call of that turn went well."""
    if turn != circuit.turn:
        return circuit
    return replace(circuit, failures=0) if circuit.until is None else Circuit(turn=turn + 1)


def failed(circuit: Circuit, turn: int, now: float, limits: Limits, told_to_wait: float | None = None) -> Circuit:
    """After a call of that turn went wrong; ``told_to_wait`` are the seconds for which nobody is to ask again."""
    if turn != circuit.turn:
        return circuit
    failures = circuit.failures + 1
    if circuit.until is None and failures < limits.failures and not told_to_wait:
        return replace(circuit, failures=failures)
    rest = min(limits.rest * 2.0 ** min(circuit.openings, 32), limits.most)
    return Circuit(
        failures=failures, openings=circuit.openings + 1, until=now + max(rest, told_to_wait or 0.0), turn=turn + 1
    )


def withdrawn(circuit: Circuit, turn: int) -> Circuit:
    """After a call of that turn was not made, or nobody knows how it went: the next one is the probe."""
    return replace(circuit, probing=False) if turn == circuit.turn else circuit


CLOSED: Final = Circuit()


class Breaker:
    """A circuit with a clock."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._circuit = CLOSED

    @property
    def state(self) -> State:
        """How it stands now."""
        return self._circuit.state(self._clock())

    @property
    def lets_through(self) -> bool:
        """Whether a call could be made now."""
        return self._circuit.lets_through(self._clock())

    def admit(self) -> "Permit | None":
        """The permit for one call, if it may be made."""
        if not self.lets_through:
            return None
        self._circuit = admitted(self._circuit)
        return Permit(self, self._circuit.turn)

    def succeeded(self, turn: int) -> None:
        """A call of that turn went well."""
        self._circuit = succeeded(self._circuit, turn)

    def failed(self, turn: int, told_to_wait: float | None) -> None:
        """A call of that turn went wrong."""
        self._circuit = failed(self._circuit, turn, self._clock(), self._limits, told_to_wait)

    def withdrawn(self, turn: int) -> None:
        """A call of that turn was not made, or nobody knows how it went."""
        self._circuit = withdrawn(self._circuit, turn)


class Permit:
    """For one call, made in a ``with`` block. Without a verdict by its end it is as if it had never been asked for."""

    def __init__(self, breaker: Breaker, turn: int) -> None:
        self._breaker = breaker
        self._turn = turn

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.withdraw()

    def withdraw(self) -> None:
        """No call was made, or nobody knows how it went. Without effect after a verdict."""
        self._breaker.withdrawn(self._turn)

    def succeeded(self) -> None:
        """It went well."""
        self._breaker.succeeded(self._turn)

    def failed(self, told_to_wait: float | None = None) -> None:
        """It went wrong."""
        self._breaker.failed(self._turn, told_to_wait)
