"""The keeping of a read model's rows: what is remembered of them, what is folded into them, and how it is written."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from infra.log import Session
from projections import parking
from projections.declaration import Projection
from projections.runtime.consumer import Lease, Step
from projections.runtime.folding import Folded, Kept, Parking, Written, fold
from projections.runtime.metrics import ConsumerMetrics
from projections.runtime.table import Table

REMEMBERED: Final = 4_000
"""Rows kept per shard. What is remembered need not be loaded: most batches are a single round trip."""


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


class Keeping:
    """Keeps the rows of one generation, together with the checkpoints of its shards."""

    def __init__(self, projection: Projection[Any], generation: int, metrics: ConsumerMetrics) -> None:
        self.name = projection.name
        self.generation = generation
        self.projection = projection
        self.table = Table(projection, generation)
        self._metrics = metrics

    async def advance(self, session: Session, steps: Sequence[Step]) -> Mapping[int, Sequence[Written]]:
        """Folds, and writes rows and checkpoints of all steps with one statement; answers what was written."""
        for step in steps:
            if step.lease.memory is None:
                step.lease.memory = await self._remember(session, step.lease)
        await self._load(session, steps)
        folded = {step.lease.shard: self._fold(step) for step in steps}
        return await self._write(session, steps, folded)

    async def park(self, session: Session, step: Step, error: str) -> Mapping[int, Sequence[Written]]:
        """Writes nothing of the step's event but that it is parked."""
        folded = Folded(parkings=[Parking(entry, error) for entry in step.entries])
        return await self._write(session, [step], {step.lease.shard: folded})

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
        rows = await self.table.load(session, keys)
        for step in steps:
            step.lease.memory.rows.update({key: rows[key] for key in missing[step.lease.shard] if key in rows})

    def _missing(self, step: Step) -> set[str]:
        rows, begun, missing = step.lease.memory.rows, set[str](), set[str]()
        for entry in step.entries:
            with suppress(Exception):  # what cannot be decoded is the fold's to judge
                event = entry.recorded()
                key = self.projection.key(event)
                if type(event.data) in self.projection.begins:
                    begun.add(key)
                elif key not in rows and key not in begun:
                    missing.add(key)
        return missing

    def _fold(self, step: Step) -> Folded:
        memory: Memory = step.lease.memory
        return fold(self.projection, memory.rows, memory.parked, step.entries)

    async def _write(
        self, session: Session, steps: Sequence[Step], folded: Mapping[int, Folded]
    ) -> Mapping[int, Sequence[Written]]:
        rows = {shard: each.written for shard, each in folded.items()}
        parkings = [parked for each in folded.values() for parked in each.parkings]
        if parkings:
            async with session.transaction():
                moved = await self.table.advance(session, self, steps, rows)
                parkings = [each for each in parkings if each.entry.shard in moved]
                await parking.write(session, self.name, self.generation, parkings)
        else:
            moved = await self.table.advance(session, self, steps, rows)
        for step in steps:
            if step.lease.shard in moved:
                of_shard, memory = folded[step.lease.shard], step.lease.memory
                memory.keep(of_shard.kept)
                memory.parked.update(parked.entry.stream_id for parked in of_shard.parkings)
        parking.tell(self.name, self._metrics, parkings)
        return {shard: rows[shard] for shard in moved}
