"""The Decider: a bounded context's rules as three pure functions and an initial state (after Jérémie Chassaing)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A unique key that the append takes for the stream, or gives back (``released``), together with the event.

    ``pointer`` names the request field to blame when another stream holds the key.
    """

    scope: str
    key: str
    released: bool = False
    pointer: str | None = None


def no_claims(_state: object, _event: object) -> Sequence[Claim]:
    """The event touches no unique key."""
    return ()


def same_id(entity_id: UUID) -> UUID:
    """The entity's id is its stream's id."""
    return entity_id


@dataclass(frozen=True, kw_only=True)
class Decider(Generic[C, E, S]):
    """The rules of one kind of stream.

    ``decide`` raises :class:`~domain.errors.Refusal`; ``claims`` is asked with the state *before* the event.
    """

    category: str
    initial: S
    decide: Callable[[C, S], Sequence[E]]
    evolve: Callable[[S, E], S]
    claims: Callable[[S, E], Sequence[Claim]] = no_claims
    stream_id: Callable[[UUID], UUID] = same_id
