"""The process manager: what events and the passing of time lead to, as pure functions. A Decider for *later*.

::

    event  ──react────▶ next state, effects               written in one transaction: state, timers, effects
    timer  ──on_timer─▶ next state, effects, a command    the same, and then the command, decided like anybody else's
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from domain.kernel.messages import Command, Recorded


class ProcessState(Protocol):
    """What a process remembers of a stream; ``correlation`` is that of the request which began it."""

    @property
    def correlation(self) -> str | None: ...


S = TypeVar("S", bound=ProcessState)
E = TypeVar("E")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Something to be written down together with the state. Written down twice, it is one."""


@dataclass(frozen=True, kw_only=True)
class Transition(Generic[S, E]):
    """What comes of an event, or of a timer that has rung.

    A ``command`` may be carried out more than once, so it must be one that a second time changes nothing. The state
    must not believe in it: only the event that it leads to shows that it was done, and stops its timer.
    """

    state: S
    effects: Sequence[E] = ()
    command: Command | None = None


@dataclass(frozen=True, kw_only=True)
class ProcessManager(Generic[S, E]):
    """A process. It follows each stream of its ``category`` by itself, whose id is that of the entity.

    ``timers`` are those that run in a state, by kind, with their moments: nobody sets or stops one. ``react`` is asked
    with None before the stream's first event. ``on_timer`` is told the time, which is never before the timer's moment.
    """

    name: str
    category: str
    state: type[S]
    react: Callable[[S | None, Recorded], Transition[S, E]]
    on_timer: Callable[[S, str, datetime], Transition[S, E]]
    timers: Callable[[S], Mapping[str, datetime]]
