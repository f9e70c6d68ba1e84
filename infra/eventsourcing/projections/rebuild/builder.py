"""Building a generation: a share of the log is read, folded, and copied into the table."""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import asyncpg

from infra.concurrency.gc_tuning import gc_paused
from infra.eventsourcing.event_log import Entry, Session
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent, Folded, Kept, Written, fold, fold_from_nothing, written
from infra.eventsourcing.projections.projection import ByEvent
from infra.eventsourcing.projections.rebuild.additive_fold import Adding, Amiss
from infra.eventsourcing.projections.rebuild.bulk_fold import Steps, document
from infra.eventsourcing.projections.rebuild.bulk_reader import PAGE, read_streams
from infra.eventsourcing.projections.rebuild.new_generation import Building, watch_client
from infra.eventsourcing.projections.rebuild.partitions import LOWEST, Shards, Share, Streams, shares
from infra.eventsourcing.projections.rebuild.refused_rows import copy, fold_again
from infra.eventsourcing.projections.row_table import Table

Report = Callable[[int, float], None]
"""Is told, since the last time, how many events were read, and how many positions of the log that is on the way."""

ABREAST: Final = 8
"""Pages read at once where most events are like others: more are alike then, but if none are, all are in memory."""
WALKING: Final = "SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off"
"""The planner would rather sort a share of streams than walk along the index, and it would do so for every page."""
_FAILED: Final = object()


async def build(session: Session, building: Building, share: Share, report: Report, *, page: int = PAGE) -> int:
    """Builds a share; answers the number of rows. ``session`` is a connection of one's own.

    ``page`` is how many events are read at a time. The table is nobody's yet: what an attempt leaves behind that fails
    is dropped with it by the next.
    """
    await watch_client(session)
    # No page waits for the disk: the indexes are made by a commit that does, and with it all that was written before.
    await session.execute("SET synchronous_commit = off")
    if isinstance(share, Streams):
        await session.execute(WALKING)
    rows, refused = 0, set[str]()
    with gc_paused():
        async for folded in parts(session, building, share, report, page):
            rows += await _write(session, building, folded, refused)
    return rows + (await fold_again(session, building, share, refused) if refused else 0)


def parts(session: Session, building: Building, share: Share, report: Report, page: int) -> AsyncIterator[Folded]:
    """What comes of a share, part by part: the rows that are finished, and what could not be folded."""
    if isinstance(share, Shards):
        return _shards(session, building, share, report, page)
    return _streams(session, building, share, report, page)


async def build_plainly(session: Session, building: Building) -> None:
    """Builds it all again, each stream event by event as a consumer folds it."""
    await session.execute(f"TRUNCATE {building.projection.table(building.generation)}")
    await session.execute(
        "DELETE FROM parked WHERE consumer = $1 AND generation = $2", building.projection.name, building.generation
    )
    for share in await shares(session, building, 1):
        await build(session, building, replace(share, plainly=True), lambda _events, _positions: None)
    await session.execute("RESET enable_sort; RESET enable_seqscan; RESET enable_bitmapscan")


async def _write(session: Session, building: Building, folded: Folded, refused: set[str]) -> int:
    rows = [row for row in folded.written if row.document]
    keys = await copy(session, Table(building.projection, building.generation), rows)
    refused.update(keys)
    await parked_streams.write(session, building.projection.name, building.generation, folded.failures)
    return len(rows) - len(keys)


async def _streams(
    session: Session, building: Building, share: Streams, report: Report, page: int
) -> AsyncIterator[Folded]:
    """Stream by stream, page by page. The last stream of a page may go on in the next one."""
    folding, passed = _ByStream(building, share), 0
    async for rows in read_streams(session, building, share, page):
        folding.take(rows)
        yield await _folded(session, building, folding)
        before, passed = passed, bisect_right(share.marks, UUID(bytes=rows[-1][0].bytes))
        report(len(rows), (passed - before) * share.apart)
    folding.end()
    yield await _folded(session, building, folding)
    report(0, (len(share.marks) - passed) * share.apart)


async def _folded(session: Session, building: Building, folding: "_ByStream") -> Folded:
    """The rows of the streams that have ended. One in which anything is amiss is folded again, event by event."""
    folded = Folded(written=folding.written)
    for stream in folding.amiss:
        entries = await building.log.read_stream(session, stream, 1, building.head)
        careful = fold_from_nothing(building.projection, building.concerns, entries)
        folded.written += careful.written
        folded.failures += careful.failures
    folding.written, folding.amiss = [], []
    return folded


class _ByStream:
    """The fold over whole streams, one after the other. The one that was last seen may go on.

    Whatever fails here is only set aside: the fold over the stored events then finds out which event it was.
    """

    def __init__(self, building: Building, share: Streams) -> None:
        self._projection = building.projection
        self._plainly = share.plainly
        self._steps = Steps(share.folds, building.log.codec.registry)
        self._position = 0
        self._row: Any = _FAILED
        self._stream = LOWEST
        self.written: list[Written] = []
        self.amiss: list[UUID] = []

    def take(self, rows: Sequence[asyncpg.Record]) -> None:
        """Folds some events."""
        steps = self._steps
        for stream, position, version, name, schema_version, at, data in rows:
            if stream != self._stream:
                self.end()
                self._begin(stream)
            if self._row is _FAILED:
                continue
            try:
                row = steps[name, schema_version](self._row, at, data)
                if row is not None:
                    row.version = version
                self._row = row
            except Exception:
                self._fail()
            self._position = position

    def _begin(self, stream: UUID) -> None:
        self._stream, self._row = stream, None
        if self._plainly:
            self._fail()

    def end(self) -> None:
        """The stream has come to its end: its row is finished."""
        if self._row is _FAILED:
            return
        try:
            kept = Kept(self._position, self._row)
            self.written.append(written(self._projection, str(self._stream), kept, document))
        except Exception:
            self._fail()

    def _fail(self) -> None:
        self._row = _FAILED
        self.amiss.append(self._stream)


async def _shards(
    session: Session, building: Building, share: Shards, report: Report, page: int
) -> AsyncIterator[Folded]:
    """The rows must fit into memory: some kilobytes each, so a gigabyte holds some 300,000."""
    if building.projection.adds and not share.plainly:
        try:
            yield await _added(session, building, share, report, page)
            return
        except Amiss:
            pass
    for number in share.numbers:
        async for folded in _folded_plainly(session, building, number, report, page):
            yield folded


async def _added(session: Session, building: Building, share: Shards, report: Report, page: int) -> Folded:
    """Shards whose events only add."""
    adding, read, step = Adding(building), 0, page * ABREAST
    for after in range(0, building.head, step):
        last = min(after + step, building.head)
        read += await adding.read(session, share.numbers, after, last)
        report(0, (last - after) * len(share.numbers) / len(building.shards))
    report(read, 0)
    return Folded(written=adding.written())


async def _folded_plainly(
    session: Session, building: Building, shard: int, report: Report, page: int
) -> AsyncIterator[Folded]:
    """A shard, as a consumer folds it. Rows that are each about one event are finished with their page."""
    folding, reached = _ByShard(building), 0
    async for entries in _pages(session, building, shard, page):
        folding.take(entries)
        before, reached = reached, entries[-1].position
        report(len(entries), (reached - before) / len(building.shards))
        if isinstance(building.projection.key, ByEvent):
            yield folding.finished()
    report(0, (building.head - reached) / len(building.shards))
    yield folding.finished()


async def _pages(session: Session, building: Building, shard: int, page: int) -> AsyncIterator[Sequence[Entry]]:
    """The events of a shard up to the head, but for those that are known not to concern the read model."""
    log, others, after = building.log, building.concerns.others, 0
    while entries := await log.read_shard(session, shard, after, page, others=others, last=building.head):
        yield entries
        after = entries[-1].position


class _ByShard:
    """The fold over a shard: that of a consumer who begins with nothing."""

    def __init__(self, building: Building) -> None:
        self._projection, self._concerns = building.projection, building.concerns
        self._rows: dict[str, Kept] = {}
        self._parked: set[UUID] = set()
        self._written: dict[str, Written] = {}
        self._failures: list[FailedEvent] = []

    def take(self, entries: Sequence[Entry]) -> None:
        """Folds some events."""
        concerned = [entry for entry in entries if self._concerns(entry.type)]
        folded = fold(self._projection, self._rows, self._parked, concerned)
        self._rows.update(folded.kept)
        self._parked.update(each.entry.stream_id for each in folded.failures)
        self._written.update((row.key, row) for row in folded.written)
        self._failures += folded.failures

    def finished(self) -> Folded:
        """The rows so far, of which no event touches any more."""
        folded = Folded(written=list(self._written.values()), failures=self._failures)
        self._rows, self._written, self._failures = {}, {}, []
        return folded
