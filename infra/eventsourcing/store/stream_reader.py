"""Reading streams back: what a decision is made on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.kernel.messages import Event
from infra.eventsourcing.codec import Decode
from infra.eventsourcing.store.append_request import Last
from infra.postgres.pool import Database

# Each stream by its own walk along the index: a join over all of them may be planned as a walk through the log. A
# snapshot counts only where the very event that it was taken at is still there.
STREAMS: Final = """
SELECT w.place, e.version, e.position, microseconds(e.recorded_at), e.type, e.schema_version, e.data,
       CASE WHEN e.version = s.version THEN s.state END
FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::text[])
     WITH ORDINALITY AS w (stream_id, category, first, snapshot, place)
LEFT JOIN LATERAL (
    SELECT s.* FROM snapshots s JOIN events e ON e.stream_id = s.stream_id AND e.version = s.version
    WHERE s.stream_id = w.stream_id AND s.code = w.snapshot
      AND s.position = e.position AND s.recorded = microseconds(e.recorded_at)
) s ON true
CROSS JOIN LATERAL (
    SELECT * FROM events e
    WHERE e.stream_id = w.stream_id AND e.version >= coalesce(s.version, w.first) AND e.category = w.category
    ORDER BY e.version LIMIT $5
) e
ORDER BY w.place, e.version
"""

POSITION: Final = "SELECT position FROM events WHERE stream_id = $1 AND version = $2"

PAGE: Final = 2_000
"""Most events that are read by one statement; others get their turn between two."""

LEAST: Final = 100
"""Of each stream at least so many at once."""

AT_ONCE: Final = 100
"""So many events are decoded before others have the loop."""

PAGE_SECONDS: Final = 1.0
"""How long one page may take before the server counts as down."""

NO_SNAPSHOT: Final = ""


class Wanted(NamedTuple):
    """A stream to be read from its event of version ``first`` on; or from a snapshot that code of this name has made.

    A stream of another category has no events.
    """

    stream_id: UUID
    category: str
    first: int = 1
    snapshot: str = NO_SNAPSHOT


@dataclass(slots=True)
class StoredEvent:
    """One event of a stream, with its place, and the bytes of the state up to it where a snapshot was taken there."""

    version: int
    last: Last
    event: Event
    snapshot: bytes | None


async def read_streams(
    database: Database, decode: Decode, wanted: Sequence[Wanted]
) -> AsyncIterator[tuple[int, StoredEvent]]:
    """The events of the streams, each with the place of its stream in ``wanted``; those of one stream in order.

    Others have the loop in between, however many there are.

    Raises :class:`~infra.eventsourcing.codec.UnknownEventType` for an event that this release does not know, and
    :class:`~infra.errors.Unavailable`.
    """
    places = dict(enumerate(wanted))
    seen = 0
    while places:
        each = max(PAGE // len(places), LEAST)
        rows = await _page(database, list(places.values()), each)
        names, came = list(places), dict.fromkeys(places, 0)
        places = {}
        for row in rows:
            seen += 1
            if seen % AT_ONCE == 0:
                await asyncio.sleep(0)
            name = names[row[0] - 1]
            came[name] += 1
            if came[name] == each:
                stream = wanted[name]
                places[name] = Wanted(stream.stream_id, stream.category, row[1] + 1)
            yield name, StoredEvent(row[1], Last(row[2], row[3]), decode(row[4], row[5], row[6]), row[7])


async def _page(database: Database, wanted: Sequence[Wanted], each: int) -> Sequence[Any]:
    streams, categories, firsts, snapshots = zip(*wanted, strict=True)
    async with database.acquire() as connection:
        return await connection.fetch(STREAMS, streams, categories, firsts, snapshots, each, timeout=PAGE_SECONDS)


async def position_of(database: Database, stream_id: UUID, version: int) -> int:
    """Where the stream's event of that version stands in the log; 0 where there is none.

    Raises :class:`~infra.errors.Unavailable`.
    """
    async with database.acquire() as connection:
        position: int | None = await connection.fetchval(POSITION, stream_id, version, timeout=PAGE_SECONDS)
    return position or 0
