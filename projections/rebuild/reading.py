"""Reading the log in bulk: lines as ``COPY`` writes them, and one object that stands for each event in turn."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from domain.messages import Event
from domain.registry import EVENTS
from infra.late_codec import late_reader
from infra.log import Session
from projections.declaration import Projection

PAGE: Final = 2000

Line: TypeAlias = list[bytes]
"""Of an event: stream, position, version, category, shard, type, schema version, time, data, metadata if asked for."""

# A row that the driver takes apart costs more than an event that is folded, and so does JSON that nobody looks at: so
# lines are cut at their tabs, and no more is done for an event than its fold asks for. Events known not to concern the
# read model are left out; their names stand in the text, so that Postgres hashes them.
_READ: Final = """
SELECT stream_id, position, version, category, shard, type, schema_version, recorded_at, data{metadata}
FROM events
WHERE {place} AND position <= {head} AND type <> ALL ('{{{others}}}'::text[])
ORDER BY {order} LIMIT {page}
"""


class UndeclaredMetadata(Exception):
    """The fold looks at metadata, but its projection does not say so."""


class Passing:
    """The event at hand: all that a :class:`~domain.messages.Recorded` tells, but soon to be the next one.

    A fold takes what it needs of an event and keeps the event itself never, so one object can stand for all of them.
    """

    __slots__ = ("_line", "data", "stream", "type", "version")

    def __init__(self) -> None:
        self._line: Line = []
        self.data: Event = Event()
        self.stream = b""
        self.type = ""
        self.version = 0

    def take(self, line: Line) -> None:
        """Stand for this event. Raises :class:`~infra.codec.UnknownEventType`, but knows its place in the log then."""
        self._line = line
        self.stream = line[0]
        self.version = int(line[2])
        self.type = line[5].decode()
        self.data = late_reader(self.type, int(line[6]))(_unescaped(line[8]))

    @property
    def stream_id(self) -> UUID:
        """The stream."""
        return UUID(self.stream.decode())

    @property
    def position(self) -> int:
        """The place in the log."""
        return int(self._line[1])

    @property
    def category(self) -> str:
        """The kind of stream."""
        return self._line[3].decode()

    @property
    def shard(self) -> int:
        """The slice of the log."""
        return int(self._line[4])

    @property
    def schema_version(self) -> int:
        """The version of the shape in which it is stored."""
        return int(self._line[6])

    @property
    def recorded_at(self) -> datetime:
        """When it was appended."""
        return datetime.fromisoformat(self._line[7].decode())

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Correlation, causation, actor; only for a read model that says it looks at them."""
        if len(self._line) == 9:
            raise UndeclaredMetadata(self.type)
        known: Mapping[str, Any] = orjson.loads(_unescaped(self._line[9]))
        return known


def _unescaped(field: bytes) -> bytes:
    """JSON has no raw tab or line end in it: all that ``COPY`` has escaped are backslashes."""
    return field.replace(b"\\\\", b"\\") if b"\\" in field else field


class Reader:
    """Reads events up to ``head`` that concern a read model. The session must be in UTC: times come as text."""

    def __init__(self, session: Session, projection: Projection[Any], head: int) -> None:
        self._session = session
        self._parts = {
            "metadata": ", metadata" if projection.metadata else "",
            "others": ",".join(name for name in EVENTS if name not in projection.types),
            "head": head,
            "page": PAGE,
        }

    async def streams(self, first: UUID, last: UUID) -> AsyncIterator[Sequence[Line]]:
        """The events of the streams after ``first`` and up to ``last``, stream by stream."""
        reached = f"('{first}', 2147483647)"
        while page := await self._page(
            place=f"(stream_id, version) > {reached} AND stream_id <= '{last}'", order="stream_id, version"
        ):
            yield page
            reached = f"('{page[-1][0].decode()}', {int(page[-1][2])})"

    async def shard(self, number: int) -> AsyncIterator[Sequence[Line]]:
        """The events of a shard, in the order of the log."""
        reached = 0
        while page := await self._page(place=f"shard = {number} AND position > {reached}", order="position"):
            yield page
            reached = int(page[-1][1])

    async def _page(self, **parts: str) -> Sequence[Line]:
        blocks: list[bytes] = []

        async def keep(block: bytes) -> None:
            # The driver would hand each block to a thread, if it were to write them to a file.
            blocks.append(block)

        await self._session.copy_from_query(_READ.format(**self._parts, **parts), output=keep)
        return [line.split(b"\t") for line in b"".join(blocks).splitlines()]
