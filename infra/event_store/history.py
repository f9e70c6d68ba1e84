"""Reading streams back: what a decision is made on."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.messages import Event
from infra.codec import decode
from infra.database import Database

STREAMS = (
    "SELECT stream_id, version, position, type, schema_version, data FROM events"
    " WHERE stream_id = ANY ($1) ORDER BY stream_id, version"
)

LOAD_SECONDS = 1.0
"""How long reading streams may take before the server counts as down."""


@dataclass(slots=True)
class Past:
    """One event of a stream, with what a decision needs to know of its place."""

    stream_id: UUID
    version: int
    position: int
    event: Event


async def load_streams(database: Database, streams: Sequence[UUID]) -> dict[UUID, list[Past]]:
    """Every event of the streams, each stream in order; an unknown stream has an empty list. One round trip.

    Raises :class:`~infra.codec.UnknownEventType` for an event that this release does not know, and
    :class:`~infra.errors.Unavailable`.
    """
    async with database.acquire() as connection:
        rows = await connection.fetch(STREAMS, streams, timeout=LOAD_SECONDS)
    history: dict[UUID, list[Past]] = {stream: [] for stream in streams}
    for stream_id, version, position, kind, schema_version, data in rows:
        history[stream_id].append(Past(stream_id, version, position, decode(kind, schema_version, data)))
    return history
