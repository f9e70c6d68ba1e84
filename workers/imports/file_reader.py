"""An import's file, read in parts: never more of it in memory than a few hundred records.

Whoever reads gives his share of the loop's time: others have the loop when it is over, even if no chunk is complete.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from infra.concurrency.time_slice import TimeSlice
from infra.imports import Claimed, file_of
from infra.storage import Storage
from workers.imports.record_splitter import Record, Splitter
from workers.imports.row_parser import BadFile, ReadRow, csv_reader, ndjson_row

CHUNK: Final = 512
"""Records that are carried out together, and checked off by one checkpoint."""
MOST_ROWS: Final = 1_000_000


class Opened(NamedTuple):
    """How the rows of a file are read, and where its first one begins."""

    read_row: ReadRow
    offset: int
    line: int


async def open_file(storage: Storage, mine: Claimed, share: TimeSlice) -> Opened:
    """Looks at the header, where there is one. Raises :class:`~workers.imports.row_parser.BadFile`."""
    if mine.media == "ndjson":
        return Opened(ndjson_row, 0, 1)
    async with aclosing(_chunks(storage, mine, 0, 1, share, size=2)) as records:
        first = await anext(records, None)
    if not first:
        raise BadFile("no-rows")
    read_row = csv_reader(first[0])
    if len(first) == 1:
        raise BadFile("no-rows")
    return Opened(read_row, first[0].end, first[0].next_line)


async def count_rows(storage: Storage, mine: Claimed, opened: Opened, share: TimeSlice) -> int:
    """How many rows there are, good and bad. Raises :class:`~workers.imports.row_parser.BadFile` for none and too
    many."""
    total = 0
    async with aclosing(_chunks(storage, mine, opened.offset, opened.line, share, size=CHUNK)) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if total > MOST_ROWS:
                raise BadFile("too-many-rows")
    if not total:
        raise BadFile("no-rows")
    return total


def rows_left(
    storage: Storage, mine: Claimed, opened: Opened, share: TimeSlice
) -> "aclosing[AsyncGenerator[Sequence[Record], None]]":
    """The records from the checkpoint on."""
    offset, line = max((opened.offset, opened.line), (mine.offset, mine.line))
    return aclosing(_chunks(storage, mine, offset, line, share, size=CHUNK))


async def _chunks(
    storage: Storage, mine: Claimed, offset: int, line: int, share: TimeSlice, *, size: int
) -> AsyncGenerator[Sequence[Record], None]:
    blob = await storage.open(file_of(mine.import_id, mine.media), start=offset)
    if blob is None:
        raise BadFile("file-lost")
    splitter = Splitter(quoted=mine.media == "csv", offset=offset, line=line)
    chunk: list[Record] = []
    async for records in _found(splitter, blob.chunks):
        for record in records:
            chunk.append(record)
            if len(chunk) == size:
                yield chunk
                chunk = []
            if share.is_over:
                await share.pause()
    if chunk:
        yield chunk


async def _found(splitter: Splitter, parts: AsyncIterator[bytes]) -> AsyncIterator[Iterator[Record]]:
    async for part in parts:
        yield splitter.feed(part)
    yield splitter.finish()
