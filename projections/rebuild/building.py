"""Building a generation: a share of the log is read, folded, and copied into the table."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, cast
from uuid import UUID

from domain.messages import Recorded
from infra.codec import UnknownEventType
from infra.collector import held_off
from infra.log import Entry, Session, read_shard, read_stream
from projections import parking
from projections.declaration import By, Projection
from projections.rebuild.generation import Building, watch_client
from projections.rebuild.reading import PAGE, UNDECLARED, Line, Passing, Reader, cut, last_line, pieces
from projections.rebuild.refused import copy, fold_again
from projections.rebuild.shares import Shards, Share, Streams
from projections.runtime.folding import Folded, Kept, Parking, Written, describe, fold, written
from projections.runtime.table import Table

CAREFUL_PAGE: Final = 1_000

Report = Callable[[int, float], None]
"""Is told, since the last time, how many events were read, and how many positions of the log that is on the way."""

_stream_of: Final = itemgetter(0)


async def build(session: Session, building: Building, share: Share, report: Report, *, page: int = PAGE) -> int:
    """Builds a share; answers the number of rows. ``session`` is a connection of one's own.

    ``page`` is how many events are read at a time. The table is nobody's yet: what an attempt leaves behind that fails
    is dropped with it by the next.
    """
    await watch_client(session)
    # No page waits for the disk: the indexes are made by a commit that does, and with it all that was written before.
    await session.execute("SET TIME ZONE 'UTC'; SET synchronous_commit = off")
    # The planner would rather sort a share than walk along the index, and it would do so for every page.
    await session.execute("SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off")
    reader = Reader(session, building.projection, building.head, page)
    rows, refused = 0, set[str]()
    with held_off():
        async for folded in _parts(reader, building, share, report):
            rows += await _write(session, building, folded, refused)
    return rows + (await fold_again(session, building, share, refused) if refused else 0)


def _parts(reader: Reader, building: Building, share: Share, report: Report) -> AsyncIterator[Folded]:
    if isinstance(share, Shards):
        return _shards(reader, building, share, report)
    return _streams(reader, building, share, report)


async def _write(session: Session, building: Building, folded: Folded, refused: set[str]) -> int:
    rows = [row for row in folded.written if row.document]
    keys = await copy(session, Table(building.projection, building.generation), rows)
    refused.update(keys)
    await parking.write(session, building.projection.name, building.generation, folded.parkings)
    return len(rows) - len(keys)


async def _streams(reader: Reader, building: Building, share: Streams, report: Report) -> AsyncIterator[Folded]:
    """Stream by stream, page by page. The last stream of a page may go on in the next one."""
    folding, passed = _ByStream(building.projection), 0
    async for page in reader.streams(share.first, share.last):
        count = sum([folding.take(cut(piece)) for piece in pieces(page)])
        yield await _folded(reader.session, building, folding)
        before, passed = passed, bisect_right(share.marks, UUID(folding.stream))
        report(count, (passed - before) * share.apart)
    folding.end()
    yield await _folded(reader.session, building, folding)
    report(0, (len(share.marks) - passed) * share.apart)


async def _folded(session: Session, building: Building, folding: "_ByStream") -> Folded:
    """The rows of the streams that have ended. One in which anything is amiss is folded again, event by event."""
    folded = Folded(written=folding.written)
    for stream in folding.amiss:
        careful = await _carefully(session, building, UUID(stream))
        folded.written += careful.written
        folded.parkings += careful.parkings
    folding.written, folding.amiss = [], []
    return folded


class _ByStream:
    """The fold over whole streams, one after the other. ``stream`` is the one that was last seen, and may go on."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection = projection
        self._event = Passing(projection)
        self._row: Any = None
        self._failed = True
        self.stream = ""
        self.written: list[Written] = []
        self.amiss: list[str] = []

    def take(self, lines: Sequence[Line]) -> int:
        """Folds some events; answers how many."""
        event, project = self._event, self._projection.project
        recorded = cast(Recorded, event)
        for stream, events in groupby(lines, _stream_of):
            if stream != self.stream:
                self.end()
                self.stream, self._row, self._failed = stream, None, False
            if self._failed:
                continue
            row = self._row
            try:
                for line in events:
                    event.take(line)
                    row = project(row, recorded)
                self._row = row
            except UNDECLARED:
                raise
            except Exception:
                self._fail()
        return len(lines)

    def end(self) -> None:
        """The stream has come to its end: its row is finished."""
        if self._failed:
            return
        try:
            self.written.append(written(self._projection, self.stream, Kept(self._event.position, self._row)))
        except Exception:
            self._fail()

    def _fail(self) -> None:
        self._failed = True
        self.amiss.append(self.stream)


async def _carefully(session: Session, building: Building, stream_id: UUID) -> Folded:
    entries = await read_stream(session, stream_id, 1, building.head)
    return fold(building.projection, {}, set(), [e for e in entries if building.projection.concerns(e.type)])


async def _shards(reader: Reader, building: Building, share: Shards, report: Report) -> AsyncIterator[Folded]:
    """Shard by shard. The rows of one must fit into memory: some kilobytes each, so a gigabyte holds some 300,000."""
    for number in share.numbers:
        folding, reached = _ByShard(building.projection), 0
        async for page in reader.shard(number):
            count = sum([folding.take(cut(piece)) for piece in pieces(page)])
            before, reached = reached, int(last_line(page)[1])
            report(count, (reached - before) / len(building.shards))
        report(0, (building.head - reached) / len(building.shards))
        try:
            yield folding.result()
        except Exception:
            # A row cannot be written: which event was it? The careful fold finds out, event by event.
            yield fold(
                building.projection, {}, set(), [entry async for entry in _entries(reader.session, building, number)]
            )


async def _entries(session: Session, building: Building, shard: int) -> AsyncIterator[Entry]:
    after = 0
    while page := await read_shard(session, shard, after, CAREFUL_PAGE):
        for entry in page:
            if entry.position <= building.head and building.projection.concerns(entry.type):
                yield entry
        after = page[-1].position


class _ByShard:
    """The fold over a shard: the same ``project``, over events that cost as little as they can."""

    def __init__(self, projection: Projection[Any]) -> None:
        self._projection = projection
        self._rows: dict[str, tuple[int, Any]] = {}
        self._parkings: list[Parking] = []
        self._aside: set[str] = set()

    def take(self, lines: Sequence[Line]) -> int:
        """Folds some events; answers how many."""
        project, rows, aside, event = self._projection.project, self._rows, self._aside, Passing(self._projection)
        recorded, key_of = cast(Recorded, event), self._key
        for line in lines:
            if aside and line[0] in aside:
                continue
            try:
                event.take(line)
                key = key_of(recorded)
                before = rows.get(key)
                rows[key] = (event.position, project(before[1] if before else None, recorded))
            except UNDECLARED:
                raise
            except Exception as error:
                self._park(event, error)
        return len(lines)

    def result(self) -> Folded:
        """What came of it. Raises whatever the writing of a row raises."""
        kept = {key: Kept(*of_key) for key, of_key in self._rows.items()}
        rows = [written(self._projection, key, each) for key, each in kept.items()]
        return Folded(kept, rows, self._parkings)

    @property
    def _key(self) -> Callable[[Recorded], str]:
        """The key of an event; where it is a field, its text as it stands in the JSON."""
        key = self._projection.key
        if isinstance(key, By):
            field = key.field
            return lambda event: cast(str, vars(event.data)[field])
        return key

    def _park(self, event: Passing, error: Exception) -> None:
        unknown = isinstance(error, UnknownEventType)
        if not self._projection.concerns(event.type):
            return
        entry = Entry(None, event.position, 0, event.shard, event.stream_id, event.type)
        self._parkings.append(Parking(entry, describe(error), unknown))
        self._aside.add(event.stream)
