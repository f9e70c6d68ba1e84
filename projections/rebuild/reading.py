"""Reading the log in bulk: pages as ``COPY`` writes them, cut into events."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from domain.registry import EVENTS, NAMES
from infra.log import Session
from projections.folds import Folds

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


async def read_streams(
    session: Session, folds: Folds[Any], first: UUID, last: UUID, *, head: int, page: int
) -> AsyncIterator[Page]:
    """The events up to ``head`` that concern a read model, of the streams after ``first`` and up to ``last``, stream by
    stream. The session must be in UTC: times come as text.
    """
    known: dict[str, Any] = {
        "unopened": ",".join(NAMES[kind] for kind in folds.unopened),
        "others": ",".join(name for name, kind in EVENTS.items() if kind.cls not in folds.handles),
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
