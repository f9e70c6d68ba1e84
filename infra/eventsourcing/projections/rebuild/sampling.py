"""The oracle of a rebuild: some of the log is folded as a consumer folds it, and compared with what was built."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.fold import fold_from_nothing
from infra.eventsourcing.projections.fold_table import Folds
from infra.eventsourcing.projections.projection import ByStream
from infra.eventsourcing.projections.rebuild.additive_fold import Adding, Amiss
from infra.eventsourcing.projections.rebuild.new_generation import Building
from infra.eventsourcing.projections.row_table import Table

SAMPLES: Final = 200
LONGEST: Final = 20
FIRST: Final = 2_000


async def differences(session: Session, building: Building) -> Sequence[str]:
    """The keys, among some, whose rows are not byte for byte what the plain fold makes of them.

    What is built neither stream by stream nor by adding is made by the plain fold, and is not looked at.
    """
    projection = building.projection
    if isinstance(projection.key, ByStream) and isinstance(projection.project, Folds):
        return await _of_streams(session, building)
    return await _of_added(session, building) if projection.adds else []


async def _of_streams(session: Session, building: Building) -> Sequence[str]:
    projection, sampled = building.projection, await _sampled(session, building)
    entries = await building.log.read_streams(session, sampled, building.head)
    expected = {
        row.key: row for row in fold_from_nothing(projection, building.concerns, entries).written if row.document
    }
    table: Table[Any] = Table(projection, building.generation)
    keys = [str(stream) for stream in sampled]
    stored = {row.key: row for row in await table.rows(session, keys)}
    return [key for key in keys if expected.get(key) != stored.get(key)]


async def _of_added(session: Session, building: Building) -> Sequence[str]:
    """The first events of the log, added up again: of its rows each is made of all of its length."""
    projection = building.projection
    entries = [entry for entry in await building.log.read_all(session, 0, FIRST) if entry.position <= building.head]
    if not entries:
        return []
    adding = Adding(building)
    try:
        await adding.read(session, building.shards, 0, entries[-1].position)
        added = {row.key: row for row in adding.written()}
    except Amiss:
        return []
    expected = {row.key: row for row in fold_from_nothing(projection, building.concerns, entries).written}
    return [key for key in expected.keys() | added.keys() if expected.get(key) != added.get(key)]


async def _sampled(session: Session, building: Building) -> list[UUID]:
    """The streams of events all over the log, the first and the last among them, and those with the most events."""
    positions = {1, building.head, *range(1, building.head, max(building.head // SAMPLES, 1))}
    rows = await session.fetch(
        "SELECT stream_id FROM events WHERE position = ANY ($1) AND type = ANY ($2) UNION "  # noqa: S608
        f"(SELECT key::uuid FROM {building.projection.table(building.generation)} ORDER BY version DESC LIMIT $3)",
        list(positions),
        list(building.concerns.types),
        LONGEST,
    )
    return [UUID(bytes=row[0].bytes) for row in rows]
