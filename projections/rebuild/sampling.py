"""The oracle of a rebuild: some streams are folded as a consumer folds them, and compared with what was built."""

from typing import Any, Final
from uuid import UUID

from infra.log import Session, read_streams
from projections.declaration import ByStream
from projections.folds import Folds
from projections.rebuild.generation import Building
from projections.runtime.folding import fold
from projections.runtime.table import Table

SAMPLES: Final = 200
LONGEST: Final = 20


async def differences(session: Session, building: Building) -> list[UUID]:
    """The streams, among some, whose rows are not byte for byte what the plain fold makes of them.

    What is not built stream by stream is made by the plain fold, and is not looked at.
    """
    projection = building.projection
    if not isinstance(projection.key, ByStream) or not isinstance(projection.project, Folds):
        return []
    sampled = await _sampled(session, building)
    entries = await read_streams(session, sampled, building.head)
    folded = fold(projection, {}, set(), [entry for entry in entries if projection.concerns(entry.type)])
    expected = {row.key: row for row in folded.written if row.document}
    table: Table[Any] = Table(projection, building.generation)
    stored = {row.key: row for row in await table.rows(session, [str(stream) for stream in sampled])}
    return [stream for stream in sampled if expected.get(str(stream)) != stored.get(str(stream))]


async def _sampled(session: Session, building: Building) -> list[UUID]:
    """The streams of events all over the log, the first and the last among them, and those with the most events."""
    positions = {1, building.head, *range(1, building.head, max(building.head // SAMPLES, 1))}
    rows = await session.fetch(
        "SELECT stream_id FROM events WHERE position = ANY ($1) AND type = ANY ($2) UNION "  # noqa: S608
        f"(SELECT key::uuid FROM {building.projection.table(building.generation)} ORDER BY version DESC LIMIT $3)",
        list(positions),
        list(building.projection.types),
        LONGEST,
    )
    return [UUID(bytes=row[0].bytes) for row in rows]
