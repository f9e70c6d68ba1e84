"""Reading the log in bulk: pages as ``COPY`` writes them, and one object that stands for each event in turn."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

from domain.messages import Event
from domain.registry import EVENTS
from infra.codec import decode
from infra.log import Session
from projections.declaration import Projection

PAGE: Final = 5_000

Line: TypeAlias = tuple[bytes, ...]
"""Of an event, as texts: stream, position, version, type, schema version, time, data."""

Page: TypeAlias = Sequence[bytes]
"""Events as they came over the line: blocks of whole events, however large."""

# Postgres writes out, and Python reads, no more of an event than its fold asks for. Events known not to concern the
# read model are left out; their names stand in the text, so that Postgres hashes them.
_READ: Final = """
SELECT stream_id, position, version, type, schema_version, recorded_at,
    CASE WHEN type <> ALL ('{{{unopened}}}'::text[]) THEN data END
FROM events
WHERE (stream_id, version) > ({reached}) AND stream_id <= '{last}' AND position <= {head}
    AND type <> ALL ('{{{others}}}'::text[])
ORDER BY stream_id, version LIMIT {page}
"""


class Unopened(Exception):
    """Somebody looks into an event that was read without its contents."""


class Passing:
    """The event at hand: what most folds ask of a :class:`~domain.messages.Recorded`, but soon to be the next one.

    A fold takes what it needs of an event and keeps the event itself never, so one object can stand for all of them.
    """

    __slots__ = ("data", "recorded_at", "type", "version")

    data: Event
    recorded_at: datetime
    type: str
    version: int


class Readers(dict[tuple[bytes, bytes], tuple[str, Callable[[bytes], Event]]]):
    """By type and schema version, as texts: the name, and what makes an event of its data."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._unopened = projection.unopened_types

    def __missing__(self, shape: tuple[bytes, bytes]) -> tuple[str, Callable[[bytes], Event]]:
        name, version = shape[0].decode(), int(shape[1])
        read: Callable[[bytes], Event] = partial(decode, name, version)
        if name in self._unopened and version <= EVENTS[name].version:
            event = unopened(EVENTS[name].cls)
            read = lambda _: event  # noqa: E731
        self[shape] = name, read
        return name, read


def unopened(cls: type[Event]) -> Event:
    """The event without its contents: all that can be told of it is its class."""

    def refuse(_event: Event) -> NoReturn:
        raise Unopened(cls.__name__)

    closed: type[Event] = type(cls.__name__, (cls,), {each.name: property(refuse) for each in fields(cls)})
    return object.__new__(closed)


async def read_streams(
    session: Session, projection: Projection[Any], first: UUID, last: UUID, *, head: int, page: int
) -> AsyncIterator[Page]:
    """The events up to ``head`` that concern a read model, of the streams after ``first`` and up to ``last``, stream by
    stream. The session must be in UTC: times come as text.
    """
    known: dict[str, Any] = {
        "unopened": ",".join(projection.unopened_types),
        "others": ",".join(name for name in EVENTS if name not in projection.types),
        "last": last,
        "head": head,
        "page": page,
    }
    reached = f"'{first}', 2147483647"
    while blocks := await _copied(session, _READ.format(**known, reached=reached)):
        yield blocks
        stream, _, version, *_ = last_line(blocks)
        reached = f"'{stream.decode()}', {version.decode()}"


async def _copied(session: Session, statement: str) -> Page:
    blocks: list[bytes] = []

    async def keep(block: bytes) -> None:
        # The driver would hand each block to a thread, if it were to write them to a file. It may be a bytearray.
        blocks.append(bytes(block))

    await session.copy_from_query(statement, output=keep, null="null")
    return blocks


def last_line(page: Page) -> Line:
    """The last event of a page."""
    return next(iter(cut(page[-1][page[-1].rfind(b"\n", 0, -1) + 1 :])))


def cut(block: bytes) -> Iterable[Line]:
    """The events of a block.

    JSON has no raw tab or line end in it: all that ``COPY`` has escaped are backslashes.
    """
    if b"\\" in block:
        block = block.replace(b"\\\\", b"\\")
    width = block.count(b"\t", 0, block.index(b"\n")) + 1
    texts = block.replace(b"\n", b"\t").split(b"\t")
    return zip(*[texts[place:-1:width] for place in range(width)], strict=True)
