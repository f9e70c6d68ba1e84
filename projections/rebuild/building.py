"""Building a generation: each shard is read, folded in memory and copied into the table, in a transaction of its own.

A shard's rows must fit into memory while it is folded: a few kilobytes each, so a gigabyte holds some 300,000.
"""

import gc
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from domain.messages import Recorded
from infra.codec import UnknownEventType
from infra.late_codec import late_reader
from infra.log import Entry, Session, read_shard
from projections import parking
from projections.declaration import By, Projection
from projections.rebuild.generation import Building
from projections.rebuild.reading import Page, Passing, UndeclaredMetadata, pages
from projections.runtime.folding import Folded, Kept, Parking, describe, fold, written
from projections.runtime.table import Table

CAREFUL_PAGE = 1_000

Report = Callable[[int, int], None]
"""Is told, since the last time, how many events were read, and how many positions of the log that is on the way."""


async def build(session: Session, building: Building, shards: Iterable[int], report: Report) -> int:
    """Builds these shards; answers the number of rows. ``session`` is a connection of one's own."""
    await session.execute("SET TIME ZONE 'UTC'")
    rows = 0
    with _no_collector():
        for shard in shards:
            rows += await _build_shard(session, building, shard, report)
    return rows


@contextmanager
def _no_collector() -> Any:
    """Holds off the search for cycles: there are none, and it would go through millions of rows again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


async def _build_shard(session: Session, building: Building, shard: int, report: Report) -> int:
    projection = building.projection
    folded = await _folded(session, building, shard, report)
    async with session.transaction():
        await Table(projection, building.generation).copy(session, (row for row in folded.written if row.document))
        await parking.write(session, projection.name, building.generation, folded.parkings)
        # The last event of the shard up to here, of whatever kind: from it on the generation is kept like any other.
        await session.execute(
            "INSERT INTO checkpoints (consumer, generation, shard, position) VALUES ($1, $2, $3, coalesce("
            "(SELECT max(position) FROM events WHERE shard = $3 AND position <= $4), 0))",
            projection.name,
            building.generation,
            shard,
            building.head,
        )
    return sum(1 for row in folded.written if row.document)


async def _folded(session: Session, building: Building, shard: int, report: Report) -> Folded:
    folding, reached = _Folding(building.projection, shard), 0
    async for page, position in pages(session, building.projection, shard, 0, building.head):
        folding.take(page)
        report(len(page), position - reached)
        reached = position
    report(0, building.head - reached)
    try:
        return folding.result()
    except Exception:
        # A row cannot be written: which event was it? The careful fold finds out, event by event.
        entries = [entry async for entry in _entries(session, shard, reached)]
        concerned = [entry for entry in entries if building.projection.concerns(entry.type)]
        return fold(building.projection, {}, set(), concerned)


async def _entries(session: Session, shard: int, last: int) -> AsyncIterator[Entry]:
    after = 0
    while after < last:
        page = await read_shard(session, shard, after, CAREFUL_PAGE)
        for entry in page:
            if entry.position <= last:
                yield entry
        after = page[-1].position


class _Folding:
    """The fold over one shard: the same ``project``, over events that cost as little as they can."""

    def __init__(self, projection: Projection[Any], shard: int) -> None:
        self._projection = projection
        self._rows: dict[str, tuple[int, Any]] = {}
        self._parkings: list[Parking] = []
        self._aside: set[str] = set()
        self._passing = Passing()
        self._passing.shard = shard

    def take(self, page: Page) -> None:
        """Folds a page."""
        project, rows, aside, event = self._projection.project, self._rows, self._aside, self._passing
        recorded = cast(Recorded, event)
        key_of = self._key
        for (
            event.position,
            event.version,
            event.schema_version,
            event.category,
            event.type,
            event.stream,
            event.at,
            raw,
            event.known,
        ) in page:
            if aside and event.stream in aside:
                continue
            try:
                event.data = late_reader(event.type, event.schema_version)(raw)
                key = key_of(recorded)
                before = rows.get(key)
                rows[key] = (event.position, project(before[1] if before else None, recorded))
            except UndeclaredMetadata:
                raise
            except Exception as error:
                self._park(error)

    def result(self) -> Folded:
        """What came of it. Raises whatever the writing of a row raises."""
        kept = {key: Kept(*of_key) for key, of_key in self._rows.items()}
        rows = [written(self._projection, key, each) for key, each in kept.items()]
        return Folded(kept, rows, self._parkings)

    @property
    def _key(self) -> Callable[[Recorded], str]:
        """The key of an event; where it is a field, its text as it stands in the JSON."""
        key = self._projection.key
        if isinstance(key, By):
            field = key.field
            return lambda event: event.data.raw[field]  # type: ignore[attr-defined]
        return key

    def _park(self, error: Exception) -> None:
        event = self._passing
        unknown = isinstance(error, UnknownEventType)
        if not self._projection.concerns(event.type):
            return
        entry = Entry(None, event.position, 0, event.shard, UUID(event.stream), event.type)
        self._parkings.append(Parking(entry, describe(error), unknown))
        self._aside.add(event.stream)
