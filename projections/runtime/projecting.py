"""A projection as a consumer: rows are folded from what is remembered, written with the checkpoint, and then told."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import structlog

from domain.registry import EVENTS
from infra.cache import Document
from infra.database import Database
from infra.log import Entry, Session, read_shard
from projections import parking
from projections.declaration import Projection
from projections.runtime.consumer import Lease, Step
from projections.runtime.folding import Folded, Kept, Parking, Written, fold
from projections.runtime.metrics import ConsumerMetrics
from projections.runtime.table import Table

Changes: TypeAlias = dict[str, Document]

REMEMBERED: Final = 4_000
"""Rows kept per shard. What is remembered need not be loaded: most batches are a single round trip."""
PAGE: Final = 1_000
LINGER_SECONDS: Final = 0.01
"""Readers of lists wait for all shards, so not long."""

_log = structlog.get_logger("weir.projections")


class Refresher(Protocol):
    """Brings changed documents to the cache, then tells. Raises :class:`~infra.cache.CacheAway`, at once if it can."""

    async def refresh(self, projection: str, generation: int, documents: Sequence[tuple[str, Document]]) -> None: ...

    async def announce(
        self, projection: str, generation: int, shard: int, position: int, keys: Sequence[tuple[str, int]]
    ) -> None: ...


@dataclass(slots=True)
class Memory:
    """What is known of a shard as long as its lease holds: parked streams, and rows, the least recently used first."""

    parked: set[UUID]
    rows: OrderedDict[str, Kept] = field(default_factory=OrderedDict)

    def keep(self, kept: Mapping[str, Kept]) -> None:
        """Remembers rows, and forgets others for them."""
        for key, row in kept.items():
            self.rows[key] = row
            self.rows.move_to_end(key)
        while len(self.rows) > REMEMBERED:
            self.rows.popitem(last=False)


class Projecting:
    """Runs one generation of a projection. It is sharded: a key's events are all in one shard."""

    whole = False
    linger = LINGER_SECONDS

    def __init__(
        self,
        projection: Projection[Any],
        generation: int,
        *,
        database: Database,
        refresher: Refresher,
        metrics: ConsumerMetrics,
    ) -> None:
        self.name = projection.name
        self.generation = generation
        self._projection = projection
        self._table = Table(projection, generation)
        self._database = database
        self._refresher = refresher
        self._metrics = metrics
        self._wanted: dict[str, bool] = {}

    def wants(self, entry: Entry) -> bool:
        """Its own events, and those of its contexts that nobody knows: they must not be passed over."""
        wanted = self._wanted.get(entry.type)
        if wanted is None:
            unknown = entry.type not in EVENTS and entry.type.partition(".")[0] in self._projection.contexts
            wanted = self._wanted[entry.type] = unknown or entry.type in self._projection.types
        return wanted

    async def advance(self, session: Session, steps: Sequence[Step]) -> Mapping[int, Changes]:
        """Folds, and writes rows and checkpoints of all steps with one statement."""
        for step in steps:
            if step.lease.memory is None:
                step.lease.memory = await self._remember(session, step.lease)
        await self._load(session, steps)
        folded = {step.lease.shard: self._fold(step) for step in steps}
        return await self._write(session, steps, folded)

    async def park(self, session: Session, step: Step, error: str) -> Mapping[int, Changes]:
        """Writes nothing of the step's event but that it is parked."""
        folded = Folded(parkings=[Parking(entry, error) for entry in step.entries])
        return await self._write(session, [step], {step.lease.shard: folded})

    async def follow(self, lease: Lease, upto: int, changes: Sequence[Changes] | None) -> None:
        """Refreshes the cache, then announces. What is not known any more is found by the events that were applied."""
        if changes is not None:
            await self._tell(lease.shard, upto, {key: row for each in changes for key, row in each.items()})
            return
        await self._tell(lease.shard, lease.refreshed, {})  # fails at once while there is nobody to tell
        while lease.refreshed < upto:
            position, missed = await self._missed(lease, upto)
            await self._tell(lease.shard, position, missed)
            lease.refreshed = position

    async def _remember(self, session: Session, lease: Lease) -> Memory:
        if await parking.release_known(session, lease.place):
            # Rows were written that the cache does not have. Nothing is lost if we stop here: `refreshed` says so.
            lease.refreshed = await parking.refreshed(session, lease.place)
        return Memory(parked=await parking.parked_streams(session, lease.place))

    async def _load(self, session: Session, steps: Sequence[Step]) -> None:
        """Fetches the rows that are needed and not remembered: of all steps at once."""
        missing = {step.lease.shard: self._missing(step) for step in steps}
        keys = [key for of_shard in missing.values() for key in of_shard]
        if not keys:
            return
        rows = await self._table.load(session, keys)
        for step in steps:
            step.lease.memory.rows.update({key: rows[key] for key in missing[step.lease.shard] if key in rows})

    def _missing(self, step: Step) -> set[str]:
        rows, begun, missing = step.lease.memory.rows, set[str](), set[str]()
        for entry in step.entries:
            with suppress(Exception):  # what cannot be decoded is the fold's to judge
                event = entry.recorded()
                key = self._projection.key(event)
                if type(event.data) in self._projection.begins:
                    begun.add(key)
                elif key not in rows and key not in begun:
                    missing.add(key)
        return missing

    def _fold(self, step: Step) -> Folded:
        memory: Memory = step.lease.memory
        return fold(self._projection, memory.rows, memory.parked, step.entries)

    async def _write(
        self, session: Session, steps: Sequence[Step], folded: Mapping[int, Folded]
    ) -> Mapping[int, Changes]:
        rows = {shard: each.written for shard, each in folded.items()}
        parkings = [parking for each in folded.values() for parking in each.parkings]
        if parkings:
            async with session.transaction():
                moved = await self._table.advance(session, self, steps, rows)
                await self._park(session, [parking for parking in parkings if parking.entry.shard in moved])
        else:
            moved = await self._table.advance(session, self, steps, rows)
        for step in steps:
            if step.lease.shard in moved:
                of_shard, memory = folded[step.lease.shard], step.lease.memory
                memory.keep(of_shard.kept)
                memory.parked.update(parking.entry.stream_id for parking in of_shard.parkings)
        return {shard: changes(rows[shard]) for shard in moved}

    async def _park(self, session: Session, parkings: Sequence[Parking]) -> None:
        await parking.write(session, self.name, self.generation, parkings)
        for each in parkings:
            counter = self._metrics.unknown if each.unknown else self._metrics.parked
            counter.inc()
            _log.error(
                "stream held" if each.unknown else "stream parked",
                projection=self.name,
                stream_id=str(each.entry.stream_id),
                position=each.entry.position,
                type=each.entry.type,
                error=each.error,
            )

    async def _tell(self, shard: int, position: int, changed: Changes) -> None:
        if changed:
            await self._refresher.refresh(self.name, self.generation, list(changed.items()))
        keys = [(key, document.position) for key, document in changed.items()]
        await self._refresher.announce(self.name, self.generation, shard, position, keys)

    async def _missed(self, lease: Lease, upto: int) -> tuple[int, Changes]:
        """The rows that events after ``refreshed`` touched, as they are now: up to where a page of events reaches."""
        async with self._database.acquire() as session:
            entries = await read_shard(session, lease.shard, lease.refreshed, PAGE)
            touched = self._touched(entry for entry in entries if entry.position <= upto)
            rows = await self._table.documents(session, list(touched))
        gone = {key: Document(position, 0, b"") for key, position in touched.items()}
        whole_page = len(entries) == PAGE and entries[-1].position < upto
        return entries[-1].position if whole_page else upto, {**gone, **rows}

    def _touched(self, entries: Iterable[Entry]) -> dict[str, int]:
        touched = {}
        for entry in entries:
            if self.wants(entry):
                with suppress(Exception):  # parked: it touched nothing
                    touched[self._projection.key(entry.recorded())] = entry.position
        return touched


def changes(rows: Iterable[Written]) -> Changes:
    """Rows as the cache takes them."""
    return {row.key: Document(row.position, row.version, row.document) for row in rows}
