"""One turn at an import: records become rows, rows become commands, and a checkpoint says so.

A few chunks are under way at once, so that Postgres has work while the next is read; checkpoints keep their order.
What was carried out but not checked off when a turn ends badly is carried out again by the next, and changes nothing.
"""

import asyncio
import gc
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter

from domain.kernel.refusals import Refusal
from infra import imports
from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.gc_tuning import gc_paused
from infra.concurrency.time_slice import TimeSlice
from infra.eventsourcing.commands.handler import CommandHandler
from infra.imports import Checkpoint, Claimed
from infra.postgres.pool import Database
from infra.storage import Storage
from workers.imports.executor import RowExecutor
from workers.imports.file_reader import Opened, count_rows, open_file, rows_left
from workers.imports.record_splitter import Record
from workers.imports.row_parser import Fault, ReadRow

CHUNKS_AT_ONCE: Final = 3
"""Of 512 rows each: enough to fill the appender's batches, and no more in the way of other commands."""
REFUSALS_PER_SEARCH: Final = 2_000
"""A refused row leaves its exception in a cycle, which nobody else would find."""
MOST_TOLD: Final = 100
"""Faults that an import tells; it counts them all."""


class Stopped(Exception):
    """The import may not go on; ``reason`` says why, and since which line.

    ``done``, ``failed``, ``skipped`` and ``faults``, those of them that are told, are what has become of rows behind
    that. They are written with its end, and not as a checkpoint: that would pass over rows which are neither.
    """

    def __init__(self, reason: Fault) -> None:
        super().__init__(reason.detail)
        self.reason = reason
        self.done = self.failed = self.skipped = 0
        self.faults: list[Fault] = []

    def add(self, landed: "ChunkResult", most: int) -> None:
        """What has become of one more chunk; at most so many faults are told in all."""
        self.done += landed.done
        self.failed += len(landed.faults)
        self.skipped += landed.skipped
        self.faults += landed.faults[: max(0, most - len(self.faults))]


class LeaseLost(Exception):
    """Somebody else has claimed the import."""


class ImportMetrics:
    """Rows by what became of them, turns that failed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("weir_import_rows", "Rows of imports by outcome.", ("outcome",), registry=registry)
        self.put_off = Counter("weir_imports_put_off", "Turns at imports that were put off.", registry=registry)


class ChunkResult(NamedTuple):
    """A chunk that has been carried out: where the file goes on behind it, and what was wrong with which rows."""

    line: int
    offset: int
    skipped: int
    done: int
    faults: Sequence[Fault]
    stopped: Refusal | None


class BatchRun:
    """A claimed import in one worker's hands until ``seconds`` are over or the file is at its end."""

    def __init__(
        self,
        mine: Claimed,
        database: Database,
        storage: Storage,
        commands: CommandHandler,
        metrics: ImportMetrics,
        *,
        seconds: float,
    ) -> None:
        self._mine = mine
        self._database = database
        self._storage = storage
        self._share = TimeSlice()
        self._carrier = RowExecutor(commands, mine)
        self._metrics = metrics
        self._until = monotonic() + seconds
        self._line, self._offset = mine.line, mine.offset
        self._told = mine.told
        self._refused = 0
        self._stopped: Stopped | None = None

    async def take(self) -> bool:
        """Goes on with the import; answers whether all of it is done.

        Raises :class:`LeaseLost`, :class:`Stopped`, :class:`~workers.imports.row_parser.BadFile`, and what is no row's
        fault.
        """
        if self._mine.left == 0:
            return True
        # The collector would go through all that is under way, again and again: half of the time of a turn.
        with gc_paused():
            return await self._take()

    async def _take(self) -> bool:
        opened = await open_file(self._storage, self._mine, self._share)
        if self._mine.left is None:
            total = await count_rows(self._storage, self._mine, opened, self._share)
            self._hold(await imports.count(self._database, self._mine, total))
        return await self._carry_out(opened)

    async def _carry_out(self, opened: Opened) -> bool:
        flying: deque[asyncio.Task[ChunkResult]] = deque()
        try:
            complete = await self._launch(opened, flying)
            while flying:
                await self._check_off(await flying.popleft())
            if self._stopped is not None:
                raise self._stopped
            return complete
        finally:
            await cancel_and_wait(*flying)

    async def _launch(self, opened: Opened, flying: deque[asyncio.Task[ChunkResult]]) -> bool:
        """Sends chunk after chunk on its way until the time is over; answers whether there are no more."""
        async with rows_left(self._storage, self._mine, opened, self._share) as chunks:
            async for chunk in chunks:
                flying.append(asyncio.create_task(self._flown(opened.read_row, chunk)))
                if len(flying) >= CHUNKS_AT_ONCE:
                    await self._check_off(await flying.popleft())
                if self._stopped is not None or monotonic() > self._until:
                    return False
        return True

    async def _flown(self, read_row: ReadRow, chunk: Sequence[Record]) -> ChunkResult:
        carried = await self._carrier.run(read_row, chunk)
        return ChunkResult(chunk[-1].next_line, chunk[-1].end, *carried)

    async def _check_off(self, landed: ChunkResult) -> None:
        if landed.stopped is not None and self._stopped is None:
            self._stopped = Stopped(Fault(self._line, landed.stopped.code, landed.stopped.detail))
        if self._stopped is None:
            await self._move_on(landed)
        else:
            self._stopped.add(landed, MOST_TOLD - self._told)
        self._metrics.rows.labels("done").inc(landed.done)
        self._metrics.rows.labels("failed").inc(len(landed.faults))
        self._metrics.rows.labels("skipped").inc(landed.skipped)

    async def _move_on(self, landed: ChunkResult) -> None:
        told = [fault.told() for fault in landed.faults[: MOST_TOLD - self._told]]
        failed = len(landed.faults)
        to = Checkpoint(self._offset, landed.line, landed.offset, landed.done, failed, landed.skipped, told)
        self._hold(await imports.advance(self._database, self._mine, to))
        self._line, self._offset = landed.line, landed.offset
        self._refused += failed
        if self._refused >= REFUSALS_PER_SEARCH:
            self._refused = 0
            gc.collect(0)
        self._told += len(told)

    def _hold(self, held: bool) -> None:
        if not held:
            raise LeaseLost
