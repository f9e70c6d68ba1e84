"""Reading the log in bulk: pages as ``COPY`` writes them, and one object that stands for each event in turn."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import orjson

from domain.messages import Event
from domain.registry import EVENTS
from infra.late_codec import Unopened, late_reader, unopened
from infra.log import Session
from projections.declaration import Projection

PAGE: Final = 5_000
PIECE: Final = 32_000
"""Bytes of a page that are cut, folded and forgotten before the next: what is made of more of them falls out of the
processor's own cache before it is folded, and two builders that share a core get a tenth slower."""

Line: TypeAlias = tuple[Any, ...]
"""Of an event: stream, position, version, category, shard, type, schema version, time, data, metadata if asked for.
Position, shard and metadata are texts still; the data is parsed."""

Page: TypeAlias = Sequence[bytes]
"""Events as they came over the line: blocks of whole events, however large."""

# Postgres writes out, and Python makes, no more of an event than its fold asks for. Events known not to concern the
# read model are left out; their names stand in the text, so that Postgres hashes them.
_READ: Final = """
SELECT stream_id, position, version, category, shard, type, schema_version, recorded_at, {data}{metadata}
FROM events
WHERE {place} AND position <= {head} AND type <> ALL ('{{{others}}}'::text[])
ORDER BY {order} LIMIT {page}
"""


class UndeclaredMetadata(Exception):
    """The fold looks at metadata, but its projection does not say so."""


UNDECLARED: Final = (UndeclaredMetadata, Unopened)
"""What stops a rebuild: no event is to blame."""


class Passing:
    """The event at hand: all that a :class:`~domain.messages.Recorded` tells, but soon to be the next one.

    A fold takes what it needs of an event and keeps the event itself never, so one object can stand for all of them.
    """

    __slots__ = ("_line", "_readers", "data", "recorded_at", "stream", "type", "version")

    def __init__(self, projection: Projection[Any]) -> None:
        self._readers = _Readers(projection)
        self._line: Line = ()
        self.data: Event = Event()
        self.recorded_at: datetime
        self.stream = ""
        self.type = ""
        self.version = 0

    def take(self, line: Line) -> None:
        """Stand for this event. Raises :class:`~infra.codec.UnknownEventType`, but knows its place in the log then."""
        self._line = line
        self.stream = line[0]
        self.version = line[2]
        self.type = line[5]
        self.recorded_at = line[7]
        self.data = self._readers[line[5], line[6]](line[8])

    @property
    def stream_id(self) -> UUID:
        """The stream."""
        return UUID(self.stream)

    @property
    def position(self) -> int:
        """The place in the log."""
        return int(self._line[1])

    @property
    def category(self) -> str:
        """The kind of stream."""
        return cast(str, self._line[3])

    @property
    def shard(self) -> int:
        """The slice of the log."""
        return int(self._line[4])

    @property
    def schema_version(self) -> int:
        """The version of the shape in which it is stored."""
        return int(self._line[6])

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Correlation, causation, actor; only for a read model that says it looks at them."""
        if len(self._line) == 9:
            raise UndeclaredMetadata(self.type)
        known: Mapping[str, Any] = orjson.loads(self._line[9])
        return known


class _Readers(dict[tuple[str, str], Callable[[Any], Event]]):
    """By type and schema version, as texts: what makes an event of its data."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._unopened = projection.unopened_types

    def __missing__(self, shape: tuple[str, str]) -> Callable[[Any], Event]:
        name, schema_version = shape[0], int(shape[1])
        if name in self._unopened:
            event = unopened(name, schema_version)
            self[shape] = read = lambda _: event
        else:
            self[shape] = read = late_reader(name, schema_version)
        return read


class Reader:
    """Reads events up to ``head`` that concern a read model. The session must be in UTC: times come as text."""

    def __init__(self, session: Session, projection: Projection[Any], head: int, page: int) -> None:
        self.session = session
        self._parts = {
            "data": _data(projection),
            "metadata": ", metadata" if projection.metadata else "",
            "others": ",".join(name for name in EVENTS if name not in projection.types),
            "head": head,
            "page": page,
        }

    async def streams(self, first: UUID, last: UUID) -> AsyncIterator[Page]:
        """The events of the streams after ``first`` and up to ``last``, stream by stream."""
        reached = f"('{first}', 2147483647)"
        while page := await self._page(
            place=f"(stream_id, version) > {reached} AND stream_id <= '{last}'", order="stream_id, version"
        ):
            yield page
            line = last_line(page)
            reached = f"('{line[0]}', {line[2]})"

    async def shard(self, number: int) -> AsyncIterator[Page]:
        """The events of a shard, in the order of the log."""
        reached = 0
        while page := await self._page(place=f"shard = {number} AND position > {reached}", order="position"):
            yield page
            reached = int(last_line(page)[1])

    async def _page(self, **parts: str) -> Page:
        blocks: list[bytes] = []

        async def keep(block: bytes) -> None:
            # The driver would hand each block to a thread, if it were to write them to a file.
            blocks.append(block)

        await self.session.copy_from_query(_READ.format(**self._parts, **parts), output=keep, null="null")
        return blocks


def last_line(page: Page) -> Line:
    """The last event of a page."""
    return cut(page[-1][page[-1].rfind(b"\n", 0, -1) + 1 :])[0]


def pieces(page: Page) -> Iterator[bytes]:
    """A page in pieces of whole events, of which only those can be large that hold a large event."""
    for block in page:
        start = 0
        while start < len(block):
            end = block.find(b"\n", start + PIECE) + 1 or len(block)
            yield block[start:end]
            start = end


def cut(piece: bytes) -> Sequence[Line]:
    """The events of a piece. It is cut column by column, so that columns are converted without a step in Python.

    JSON has no raw tab or line end in it: all that ``COPY`` has escaped are backslashes.
    """
    text = piece.decode()
    if "\\" in text:
        text = text.replace("\\\\", "\\")
    width = text.count("\t", 0, text.index("\n")) + 1
    fields = text.replace("\n", "\t").split("\t")
    columns: list[Iterable[Any]] = [fields[place:-1:width] for place in range(width)]
    columns[2] = map(int, columns[2])
    columns[7] = map(datetime.fromisoformat, columns[7])
    columns[8] = _parsed(columns[8])
    return list(zip(*columns, strict=True))


def _parsed(texts: Iterable[str]) -> Sequence[Any]:
    """All at once; one by one where Postgres takes something for JSON that the parser does not, such as ``1e400``."""
    try:
        parsed: Sequence[Any] = orjson.loads(f"[{','.join(texts)}]")
    except orjson.JSONDecodeError:
        parsed = [_parsed_alone(text) for text in texts]
    return parsed


def _parsed_alone(text: str) -> Any:
    """None where it cannot be parsed: that is no event, and whoever takes it for one will say so."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _data(projection: Projection[Any]) -> str:
    if not projection.unopened:
        return "data"
    names = ",".join(projection.unopened_types)
    return f"CASE WHEN type <> ALL ('{{{names}}}'::text[]) THEN data END"
