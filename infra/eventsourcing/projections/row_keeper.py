"""The keeping of read models' rows: what is remembered of them, what is folded into them, and how it is written."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from infra.eventsourcing.consumers.consumer import Answers, Batch, Lease, fence, refused
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import EventLog, Session
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent, Folded, Kept, Written, fold
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.row_table import Loaded, Table, commit, load

REMEMBERED: Final = 16 * 2**20
"""Bytes of rows kept in a process. What is remembered need not be loaded: most batches are a single round trip."""
PER_BYTE: Final = 5
"""Bytes that a row takes up for each byte of its document: numbers, names and times are objects."""
PER_ROW: Final = 1_000


class Memory:
    """Rows as they are after the last commit, by lease, the least recently used first; bounded in bytes.

    What a lease that was lost has left here is not found by the next one, and ages out.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self.size = 0
        self._limit = limit
        self._rows: OrderedDict[tuple[Lease, str], tuple[Kept, int]] = OrderedDict()

    def __contains__(self, place: tuple[Lease, str]) -> bool:
        return place in self._rows

    def rows(self, lease: Lease, keys: set[str]) -> dict[str, Kept]:
        """Those of the lease that are known."""
        return {key: self._rows[lease, key][0] for key in keys if (lease, key) in self._rows}

    def keep(self, lease: Lease, rows: Mapping[str, Loaded]) -> None:
        """Remembers rows, and forgets others for them."""
        for key, (kept, length) in rows.items():
            self._forget((lease, key))
            size = length * PER_BYTE + PER_ROW
            self._rows[lease, key] = (kept, size)
            self.size += size
        while self.size > self._limit:
            self._forget(next(iter(self._rows)))

    def _forget(self, place: tuple[Lease, str]) -> None:
        _, size = self._rows.pop(place, (None, 0))
        self.size -= size


class Keeping:
    """Keeps the rows of read models, in whatever generations its leases are, together with their checkpoints."""

    def __init__(self, projections: Mapping[str, Projection[Any]], log: EventLog, metrics: RuntimeMetrics) -> None:
        self._projections = projections
        self._log = log
        self._metrics = metrics
        self._tables: dict[tuple[str, int], Table[Any]] = {}
        self._memory = Memory()

    def table(self, lease: Lease) -> Table[Any]:
        """Where the rows of the lease are kept."""
        name, generation, _ = lease.place
        if (name, generation) not in self._tables:
            self._tables[name, generation] = Table(self._projections[name], generation)
        return self._tables[name, generation]

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[Sequence[Written]]:
        """Folds, and writes rows and checkpoints of all batches with one statement; answers what was written."""
        await parked_streams.recall(session, self._log, (batch.lease for batch in batches), self._projections)
        touched = {batch.lease: self._touched(batch) for batch in batches}
        read = await self._load(session, touched)
        folded = {}
        for batch in batches:
            lease = batch.lease
            rows = self._memory.rows(lease, {*touched[lease]}) | {key: each.kept for key, each in read[lease].items()}
            folded[lease] = fold(self.table(lease).projection, rows, lease.consumer_state, batch.entries)
        return await self._write(session, batches, folded)

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[Sequence[Written]]:
        """Writes nothing of the batch's event but that it is parked."""
        folded = Folded(failures=[FailedEvent(entry, error) for entry in batch.entries])
        return await self._write(session, [batch], {batch.lease: folded})

    def _touched(self, batch: Batch) -> dict[str, bool]:
        """The keys of the rows that the events touch, and whether their former rows are needed for it."""
        projection, touched = self.table(batch.lease).projection, dict[str, bool]()
        for entry in batch.entries:
            with suppress(Exception):  # what cannot be decoded is the fold's to judge
                event = entry.recorded()
                touched.setdefault(projection.key(event), type(event.data) not in projection.creates)
        return touched

    async def _load(
        self, session: Session, touched: Mapping[Lease, Mapping[str, bool]]
    ) -> dict[Lease, dict[str, Loaded]]:
        """Fetches the rows that are needed and not remembered: of all batches at once."""
        missing = {
            lease: [key for key, needed in keys.items() if needed and (lease, key) not in self._memory]
            for lease, keys in touched.items()
        }
        wanted: dict[Table[Any], list[str]] = {}
        for lease, keys in missing.items():
            if keys:
                wanted.setdefault(self.table(lease), []).extend(keys)
        rows = await load(session, wanted) if wanted else {}
        return {
            lease: {key: rows[self.table(lease)][key] for key in keys if key in rows[self.table(lease)]}
            for lease, keys in missing.items()
            if keys
        } | {lease: {} for lease, keys in missing.items() if not keys}

    async def _write(
        self, session: Session, batches: Sequence[Batch], folded: Mapping[Lease, Folded]
    ) -> Answers[Sequence[Written]]:
        changed: dict[Table[Any], list[tuple[int, Written]]] = {}
        for lease, each in folded.items():
            if each.written:
                changed.setdefault(self.table(lease), []).extend((lease.shard, row) for row in each.written)
        tables = tuple(sorted(changed, key=lambda table: table.name))
        values = [array for table in tables for array in table.values(changed[table])]
        failures = [(lease.place, parked) for lease, each in folded.items() for parked in each.failures]
        values += parked_streams.columns(failures) if failures else []
        rows = await session.fetch(commit(tables, bool(failures)), *fence(batches), *values)
        not_moved = refused(batches, rows)
        for lease in folded.keys() - not_moved.keys():
            self._remember(lease, folded[lease])
        return {lease: not_moved.get(lease, folded[lease].written) for lease in folded}

    def _remember(self, lease: Lease, folded: Folded) -> None:
        lengths = {row.key: len(row.document) for row in folded.written}
        self._memory.keep(lease, {key: Loaded(kept, lengths.get(key, 0)) for key, kept in folded.kept.items()})
        parked_streams.announce(lease, self._metrics.of(lease.place.consumer), folded.failures)
