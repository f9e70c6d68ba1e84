"""A projection as a consumer: its rows are kept as its events come, and every change is told to the cache."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

from infra.cache import Document
from infra.database import Database
from infra.log import Entry, Session, read_shard
from projections.declaration import Projection
from projections.runtime.consumer import Lease, Step
from projections.runtime.folding import Written
from projections.runtime.keeping import Keeping
from projections.runtime.metrics import ConsumerMetrics

Changes: TypeAlias = Sequence[Written]

PAGE: Final = 1_000
LINGER_SECONDS: Final = 0.02
"""Readers of lists wait for all shards, so not long."""


class Refresher(Protocol):
    """Brings changed documents to the cache, then tells. Raises :class:`~infra.cache.CacheAway`, at once if it can."""

    async def refresh(self, projection: str, generation: int, documents: Sequence[tuple[str, Document]]) -> None: ...

    async def announce(
        self, projection: str, generation: int, shard: int, position: int, keys: Sequence[tuple[str, int]]
    ) -> None: ...


class Projecting:
    """Runs one generation of a projection. It is sharded: a key's events are all in one shard."""

    whole = False

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
        self.rest = projection.rest
        self.linger = max(LINGER_SECONDS, projection.rest)
        self._projection = projection
        self._keeping = Keeping(projection, generation, metrics)
        self._database = database
        self._refresher = refresher
        self._wanted: dict[str, bool] = {}

    def wants(self, entry: Entry) -> bool:
        """Whether the event's type concerns it."""
        wanted = self._wanted.get(entry.type)
        if wanted is None:
            wanted = self._wanted[entry.type] = self._projection.concerns(entry.type)
        return wanted

    async def advance(self, session: Session, steps: Sequence[Step]) -> Mapping[int, Changes]:
        """Folds, and writes rows and checkpoints of all steps with one statement."""
        return await self._keeping.advance(session, steps)

    async def park(self, session: Session, step: Step, error: str) -> Mapping[int, Changes]:
        """Writes nothing of the step's event but that it is parked."""
        return await self._keeping.park(session, step, error)

    async def follow(self, lease: Lease, upto: int, changes: Sequence[Changes] | None) -> None:
        """Refreshes the cache, then announces. What is not known any more is found by the events that were applied."""
        if changes is not None:
            await self._tell(lease.shard, upto, _documents(row for each in changes for row in each))
            return
        await self._tell(lease.shard, lease.refreshed, {})  # fails at once while there is nobody to tell
        while lease.refreshed < upto:
            position, missed = await self._missed(lease, upto)
            await self._tell(lease.shard, position, missed)
            lease.refreshed = position

    async def _tell(self, shard: int, position: int, changed: dict[str, Document]) -> None:
        if changed:
            await self._refresher.refresh(self.name, self.generation, list(changed.items()))
        keys = [(key, document.position) for key, document in changed.items()]
        await self._refresher.announce(self.name, self.generation, shard, position, keys)

    async def _missed(self, lease: Lease, upto: int) -> tuple[int, dict[str, Document]]:
        """The rows that events after ``refreshed`` touched, as they are now: up to where a page of events reaches."""
        async with self._database.acquire() as session:
            entries = await read_shard(session, lease.shard, lease.refreshed, PAGE)
            touched = self._touched(entry for entry in entries if entry.position <= upto)
            rows = await self._keeping.table.documents(session, list(touched))
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


def _documents(rows: Iterable[Written]) -> dict[str, Document]:
    """Rows as the cache takes them; of one that was written twice the last."""
    return {row.key: Document(row.position, row.version, row.document) for row in rows}
