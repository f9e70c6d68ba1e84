"""Former sort keys of a row, from before it moved: what lets a list go on in the order in which it was begun.

A cursor alone cannot: a product that is repriced between two pages jumps over it, and is then seen twice or not at
all. So a list has a position of the log, and whatever has moved since stands where it stood then.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from infra.eventsourcing.projections.projection import make

REMEMBERED: Final = 64
"""Former places of a row in one order. What moved more often since a list was begun stands at the oldest one known."""


@dataclass(frozen=True, kw_only=True)
class FormerPlace:
    """A place that the row left with the event at ``until``; ``at`` is the value that it was sorted by, as text."""

    until: int
    at: str


FormerPlaces: TypeAlias = tuple[FormerPlace, ...]


def with_former_place(places: FormerPlaces, before: object, now: object, until: int) -> FormerPlaces:
    """The former places after an event: one more, if the row has moved."""
    if before == now:
        return places
    return (*places, make(FormerPlace, until=until, at=str(before)))[-REMEMBERED:]
