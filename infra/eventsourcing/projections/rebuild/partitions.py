"""Partitions of a rebuild: the log cut into shares that can be built side by side.

Rows that are each about one stream, folded by a table, are built stream by stream: a row is finished when its stream
is, and is written at once, so that hardly anything has to be remembered. Others are built shard by shard, in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias
from uuid import UUID

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.fold_table import Folds
from infra.eventsourcing.projections.projection import ByStream
from infra.eventsourcing.projections.rebuild.new_generation import Building

SAMPLES: Final = 1_000
LOWEST: Final = UUID(int=0)
HIGHEST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Streams:
    """The streams after ``first`` and up to ``last``.

    ``marks`` are streams among them, in order, with about ``apart`` positions of the log between two. ``plainly``: each
    is folded event by event, as a consumer does it.
    """

    first: UUID
    last: UUID
    marks: Sequence[UUID]
    apart: float
    folds: Folds[Any]
    plainly: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shards:
    """The streams of some shards. ``plainly``: each event is read and folded by itself, as a consumer does it."""

    numbers: tuple[int, ...]
    plainly: bool = False


Share: TypeAlias = Streams | Shards


async def shares(session: Session, building: Building, count: int) -> Sequence[Share]:
    """The log in at most ``count`` shares of about the same size."""
    folds = building.projection.project
    if not isinstance(building.projection.key, ByStream) or not isinstance(folds, Folds):
        count = min(count, len(building.shards))
        return [Shards(numbers=building.shards[place::count]) for place in range(count)]
    step = max(building.head // SAMPLES, 1)
    rows = await session.fetch(
        "SELECT stream_id FROM events WHERE position = ANY ($1) ORDER BY stream_id",
        list(range(step, building.head + 1, step)),
    )
    marks = [UUID(bytes=row[0].bytes) for row in rows]
    cuts = [len(marks) * place // count for place in range(count + 1)]
    bounds = [LOWEST, *[marks[cut] for cut in cuts[1:-1]], HIGHEST] if marks else [LOWEST, HIGHEST]
    apart = building.head / max(len(marks), 1)
    return [
        Streams(
            first=first, last=last, marks=[mark for mark in marks if first < mark <= last], apart=apart, folds=folds
        )
        for first, last in pairwise(bounds)
    ]
