"""The Decider: a bounded context's rules as three pure functions and an initial state (after Jérémie Chassaing)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from domain.kernel.refusals import Refusal

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """A share of what an owner may have at once, which the append takes for the stream, or gives back (``released``).

    How many shares of a ``scope`` there may be, and how much ``weight`` together, the append checks where nothing can
    come between: ``too_many`` and ``too_much`` say so.
    """

    scope: str
    owner: UUID
    weight: int = 0
    released: bool = False
    too_many: type[Refusal]
    too_much: type[Refusal]


def no_allowances(_event: object) -> Sequence[Allowance]:
    """The event takes up nothing that is scarce."""
    return ()


def no_claims(_state: object, _event: object) -> Sequence[Claim]:
    """The event touches no unique key."""
    return ()


def same_id(entity_id: UUID) -> UUID:
    """The entity's id is its stream's id."""
    return entity_id


@dataclass(frozen=True, kw_only=True)
class Decider(Generic[C, E, S]):
    """The rules of one kind of stream.

    ``decide`` raises :class:`~domain.kernel.refusals.Refusal`; ``claims`` is asked with the state *before* the event.
    """

    category: str
    initial: S
    decide: Callable[[C, S], Sequence[E]]
    evolve: Callable[[S, E], S]
    claims: Callable[[S, E], Sequence[Claim]] = no_claims
    allowances: Callable[[E], Sequence[Allowance]] = no_allowances
    stream_id: Callable[[UUID], UUID] = same_id
