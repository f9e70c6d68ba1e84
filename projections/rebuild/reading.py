"""Reading a shard of the log in bulk: whole pages as one JSON text, one object that stands for each event in turn."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from domain.messages import Event
from domain.registry import EVENTS
from infra.log import Session
from projections.declaration import Projection

PAGE: Final = 1_000

Page: TypeAlias = list[tuple[int, int, int, str, str, str, str, dict[str, Any], dict[str, Any] | None]]
"""Of each event: position, version, schema version, category, type, stream, time, data, metadata."""

# A row that the driver would have to take apart costs more than an event that is folded: so Postgres hands over a page
# as one value, and it is taken apart by one call. Events known not to concern the read model are left out.
_READ: Final = """
SELECT concat('[', string_agg(
           concat('[', position, ',', version, ',', schema_version, ',"', category, '","', type, '","', stream_id, '",',
                  to_json(recorded_at), ',', data, ',', {metadata}, ']'), ',' ORDER BY position), ']'),
       max(position)
FROM (SELECT * FROM events WHERE shard = $1 AND position > $2 AND position <= $3 AND type <> ALL ($4::text[])
      ORDER BY position LIMIT $5) e
"""


class UndeclaredMetadata(Exception):
    """The fold looks at metadata, but its projection does not say so."""


class Passing:
    """The event at hand: all that a :class:`~domain.messages.Recorded` tells, but soon to be the next one.

    A fold takes what it needs of an event and keeps the event itself never, so one object can stand for all of them.
    """

    __slots__ = ("at", "category", "data", "known", "position", "schema_version", "shard", "stream", "type", "version")

    position: int
    version: int
    schema_version: int
    category: str
    shard: int
    type: str
    stream: str
    at: str
    data: Event
    known: Mapping[str, Any] | None

    @property
    def stream_id(self) -> UUID:
        """The stream."""
        return UUID(self.stream)

    @property
    def recorded_at(self) -> datetime:
        """When it was appended."""
        return datetime.fromisoformat(self.at)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Correlation, causation, actor; only for a read model that says it looks at them."""
        if self.known is None:
            raise UndeclaredMetadata(self.type)
        return self.known


async def pages(
    session: Session, projection: Projection[Any], shard: int, first: int, last: int
) -> AsyncIterator[tuple[Page, int]]:
    """The events of a shard after ``first`` and up to ``last``, page by page, each with the position that it reaches.

    The session must be in UTC: times come as text.
    """
    others = [name for name in EVENTS if name not in projection.types]
    statement = _READ.format(metadata="metadata" if projection.metadata else "'null'")
    while first < last:
        page = await session.fetchrow(statement, shard, first, last, others, PAGE)
        if page is None or page[1] is None:
            break
        first = page[1]
        yield orjson.loads(page[0]), first
