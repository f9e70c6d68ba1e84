"""Rows that Postgres refuses in a rebuild: folded again, event by event, to find whose stream is to be set aside."""

from collections.abc import AsyncIterator, Sequence, Set
from typing import Any, Final
from uuid import UUID

from infra.eventsourcing.consumers.consumer import is_poison
from infra.eventsourcing.event_log import Entry, Session
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent, Folded, Kept, Written, describe, fold, written
from infra.eventsourcing.projections.rebuild.new_generation import Building
from infra.eventsourcing.projections.rebuild.partitions import Share, Streams
from infra.eventsourcing.projections.row_table import Table

PAGE: Final = 1_000


async def copy(session: Session, table: Table[Any], rows: Sequence[Written]) -> list[str]:
    """Copies what Postgres takes; answers the keys of the rows that it refuses."""
    try:
        await table.copy(session, rows)
    except Exception as error:
        if not is_poison(error):
            raise
        if len(rows) == 1:
            return [rows[0].key]
        middle = len(rows) // 2
        return [*await copy(session, table, rows[:middle]), *await copy(session, table, rows[middle:])]
    return []


async def fold_again(session: Session, building: Building, share: Share, keys: Set[str]) -> int:
    """Makes the refused rows as they were before the event that Postgres refuses, and parks its stream, as a consumer
    does with each that comes; answers how many rows there are then.
    """
    projection = building.projection
    table: Table[Any] = Table(projection, building.generation)
    rows: dict[str, Kept] = {}
    failures: list[FailedEvent] = []
    skipped: set[UUID] = set()
    async for entry in _entries(session, building, share, keys):
        folded = fold(projection, rows, skipped, [entry])
        if (error := await _refusal(session, table, folded)) is not None:
            folded = Folded(failures=[FailedEvent(entry, error)])
        if folded.failures or folded.kept.keys() <= keys:
            rows.update(folded.kept)
            failures += folded.failures
            skipped.update(each.entry.stream_id for each in folded.failures)
    made = [written(projection, key, kept) for key, kept in rows.items() if kept.row is not None]
    await table.copy(session, made)
    await parked_streams.write(session, projection.name, building.generation, failures)
    return len(made)


async def _entries(session: Session, building: Building, share: Share, keys: Set[str]) -> AsyncIterator[Entry]:
    """The events of the share that may touch these rows, in the order of their shard."""
    async for page in _pages(session, building, share, keys):
        for entry in page:
            if entry.position <= building.head and _touches(building, entry, keys):
                yield entry


async def _pages(session: Session, building: Building, share: Share, keys: Set[str]) -> AsyncIterator[Sequence[Entry]]:
    if isinstance(share, Streams):
        for key in sorted(keys):
            yield await building.log.read_stream(session, UUID(key), 1, building.head)
        return
    for shard in share.numbers:
        after = 0
        while page := await building.log.read_shard(session, shard, after, PAGE):
            yield page
            after = page[-1].position


def _touches(building: Building, entry: Entry, keys: Set[str]) -> bool:
    if not building.concerns(entry.type):
        return False
    try:
        return building.projection.key(entry.recorded()) in keys
    except Exception:
        return True  # of which row, nobody can tell: its stream is set aside, if it was not yet


async def _refusal(session: Session, table: Table[Any], folded: Folded) -> str | None:
    """Why Postgres does not take the row, if it does not; nothing is left of the try."""
    trying = session.transaction()
    await trying.start()
    try:
        await table.copy(session, [row for row in folded.written if row.document])
    except Exception as error:
        if not is_poison(error):
            raise
        return describe(error)
    finally:
        await trying.rollback()
    return None
