"""Reading streams back: what a decision is made on."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.messages import Event
from infra.codec import decode
from infra.database import Database

STREAMS = (
    "SELECT stream_id, version, position, type, schema_version, data FROM events"
    " WHERE stream_id = ANY ($1) AND (stream_id, version) > ($2, $3) ORDER BY stream_id, version LIMIT $4"
)

PAGE = 5_000
"""Most events that are read by one statement; others get their turn between two."""

PAGE_SECONDS = 1.0
"""How long one page may take before the server counts as down."""


@dataclass(slots=True)
class Past:
    """One event of a stream, with what a decision needs to know of its place."""

    stream_id: UUID
    version: int
    position: int
    event: Event


async def load_streams(database: Database, streams: Sequence[UUID]) -> dict[UUID, list[Past]]:
    """Every event of the streams, each stream in order; an unknown stream has an empty list.

    Raises :class:`~infra.codec.UnknownEventType` for an event that this release does not know, and
    :class:`~infra.errors.Unavailable`.
    """
    history: dict[UUID, list[Past]] = {stream: [] for stream in streams}
    last: tuple[UUID, int] = (UUID(int=0), 0)
    async with database.acquire() as connection:
        while True:
            rows = await connection.fetch(STREAMS, streams, *last, PAGE, timeout=PAGE_SECONDS)
            for stream_id, version, position, kind, schema_version, data in rows:
                history[stream_id].append(Past(stream_id, version, position, decode(kind, schema_version, data)))
            if len(rows) < PAGE:
                return history
            last = stream_id, version
