"""Reading streams back: what a decision is made on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.messages import Event
from infra.codec import decode
from infra.database import Database

STREAMS = (
    "SELECT e.stream_id, e.version, e.position, e.type, e.schema_version, e.data"
    " FROM unnest($1::uuid[], $2::integer[]) AS w (stream_id, known)"
    " CROSS JOIN LATERAL (SELECT * FROM events e WHERE e.stream_id = w.stream_id AND e.version > w.known"
    "                     ORDER BY e.version LIMIT $3) e"
)
"""Each stream by its own walk along the index: a join over all of them may be planned as a walk through the log."""

POSITION = "SELECT position FROM events WHERE stream_id = $1 AND version = $2"

PAGE = 5_000
"""Most events that are read by one statement; others get their turn between two."""

LEAST = 100
"""Of each stream at least so many at once."""

PAGE_SECONDS = 1.0
"""How long one page may take before the server counts as down."""


@dataclass(slots=True)
class Past:
    """One event of a stream, with what a decision needs to know of its place."""

    stream_id: UUID
    version: int
    position: int
    event: Event


async def load_streams(
    database: Database, streams: Sequence[UUID], known: Mapping[UUID, int] | None = None
) -> dict[UUID, list[Past]]:
    """The events of the streams after their ``known`` versions, each stream in order; an unknown stream has none.

    Raises :class:`~infra.codec.UnknownEventType` for an event that this release does not know, and
    :class:`~infra.errors.Unavailable`.
    """
    history: dict[UUID, list[Past]] = {stream: [] for stream in streams}
    wanted = {stream: known.get(stream, 0) if known else 0 for stream in streams}
    async with database.acquire() as connection:
        while wanted:
            each = max(PAGE // len(wanted), LEAST)
            rows = await connection.fetch(STREAMS, list(wanted), list(wanted.values()), each, timeout=PAGE_SECONDS)
            came: Counter[UUID] = Counter()
            for stream_id, version, position, kind, schema_version, data in rows:
                history[stream_id].append(Past(stream_id, version, position, decode(kind, schema_version, data)))
                came[stream_id] += 1
            wanted = {stream: history[stream][-1].version for stream, events in came.items() if events == each}
    return history


async def position_of(database: Database, stream_id: UUID, version: int) -> int:
    """Where the stream's event of that version stands in the log; 0 where there is none.

    Raises :class:`~infra.errors.Unavailable`.
    """
    async with database.acquire() as connection:
        position: int | None = await connection.fetchval(POSITION, stream_id, version, timeout=PAGE_SECONDS)
    return position or 0
