"""Given / when / then for any Decider: ``orders.given(PLACED).when(SHIP).then_refused(OrderNotPaid)``.

What has happened is told as events, what is asked as a command, what follows as events or a refusal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVar

import pytest

from domain.kernel.decider import Claim, Decider
from domain.kernel.refusals import Refusal

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")


@dataclass(frozen=True)
class Spec(Generic[C, E, S]):
    """Where the sentences about one decider begin."""

    decider: Decider[C, E, S]

    def given(self, *history: E) -> "Given[C, E, S]":
        """What has happened so far; nothing, for a stream that does not exist yet."""
        return Given(self.decider, history)

    def when(self, command: C) -> "When[C, E, S]":
        """A command to a stream that does not exist yet."""
        return self.given().when(command)


@dataclass(frozen=True)
class Given(Generic[C, E, S]):
    """A stream with a history."""

    decider: Decider[C, E, S]
    history: Sequence[E]

    @property
    def state(self) -> S:
        """What the history leaves."""
        return reduce(self.decider.evolve, self.history, self.decider.initial)

    def and_given(self, *more: E) -> "Given[C, E, S]":
        """What has happened after that."""
        return Given(self.decider, (*self.history, *more))

    def when(self, command: C) -> "When[C, E, S]":
        """What is asked of it."""
        return When(self.decider, self.state, command)


@dataclass(frozen=True)
class When(Generic[C, E, S]):
    """A question to the rules; each ``then`` is an answer they must give."""

    decider: Decider[C, E, S]
    state: S
    command: C

    def then(self, *expected: E) -> None:
        """Exactly these events follow."""
        assert list(self._events()) == list(expected)

    def then_nothing(self) -> None:
        """It is so already."""
        self.then()

    def then_refused(self, refusal: type[Refusal], *, pointer: str | None = None) -> None:
        """The rules forbid it, and blame this field if one is named."""
        with pytest.raises(Refusal) as refused:
            self._events()
        assert refused.type is refusal
        assert pointer is None or refused.value.pointer == pointer

    def then_claims(self, *expected: Claim) -> None:
        """These unique keys are taken or given back together with the events."""
        state, found = self.state, list[Claim]()
        for event in self._events():
            found.extend(self.decider.claims(state, event))
            state = self.decider.evolve(state, event)
        assert found == list(expected)

    def _events(self) -> Sequence[E]:
        return self.decider.decide(self.command, self.state)
