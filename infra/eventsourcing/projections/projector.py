"""Read models as one consumer: their rows are kept as events come, and every change is told to the cache."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias

from domain.kernel.event_registry import Concerns
from infra.eventsourcing.consumers.consumer import Answers, Batch, Foresee, Lease, Member
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.projections.fold import Written
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.row_keeper import Keeping
from infra.eventsourcing.read_cache import CacheAway, Document
from infra.postgres.pool import Database

Changes: TypeAlias = Sequence[Written]

PAGE: Final = 250
SEARCHES: Final = 2
"""Pages that are searched at once for what could not be told: decoded, each is some megabytes."""
LINGER_SECONDS: Final = 0.02
"""Readers of lists wait for all shards, so not long."""


class Refresher(Protocol):
    """Brings changed documents to the cache, then tells. Raises :class:`~infra.eventsourcing.read_cache.CacheAway`, at
    once if it can."""

    @property
    def era(self) -> str: ...

    def foresee(self, projection: str, generation: int, key: str) -> None: ...

    async def expect(self) -> None: ...

    async def refresh(self, projection: str, generation: int, documents: Sequence[tuple[str, Document]]) -> None: ...

    async def announce(
        self, projection: str, generation: int, shard: int, position: int, keys: Sequence[tuple[str, int]]
    ) -> None: ...


class Projecting:
    """Runs read models, each in the generation of its lease. They are sharded: a key's events are all in one shard."""

    whole = False

    def __init__(
        self,
        projections: Mapping[str, Projection[Any]],
        *,
        database: Database,
        log: EventLog,
        refresher: Refresher,
        metrics: RuntimeMetrics,
    ) -> None:
        self._refresher = refresher
        self.members = [
            Member(
                name=each.name,
                version=each.version,
                rest=each.rest,
                linger=max(LINGER_SECONDS, each.rest),
                wants=log.codec.registry.concerns(each.handles),
                foresee=self._foreseeing(each, log.codec.registry.concerns(each.creates)),
            )
            for each in projections.values()
        ]
        self._keeping = Keeping(projections, log, metrics)
        self._database = database
        self._log = log
        self._searches = asyncio.Semaphore(SEARCHES)

    @property
    def era(self) -> str:
        """The memory that documents are brought to."""
        return self._refresher.era

    def _foreseeing(self, projection: Projection[Any], makes: Concerns) -> Foresee | None:
        """Tells of rows that are about to be made and read back.

        Only of those that cannot have been made before: where Postgres has crashed and lost its last commits, they are
        made anew, one after the other, and what is brought to Redis on the way is older than what was told of.
        """
        if not projection.read_back:
            return None

        def foresee(lease: Lease, entries: Sequence[Entry]) -> None:
            for entry in entries:
                if entry.position > lease.head and makes(entry.type):
                    with suppress(Exception):  # what cannot be decoded is the fold's to judge
                        self._refresher.foresee(*lease.place[:2], projection.key(entry.recorded()))

        return foresee

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[Changes]:
        """Folds, and writes rows and checkpoints of all batches with one statement."""
        await self._refresher.expect()
        return await self._keeping.advance(session, batches)

    async def park(self, session: Session, batch: Batch, error: str) -> Answers[Changes]:
        """Writes nothing of the batch's event but that it is parked."""
        return await self._keeping.park(session, batch, error)

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[Changes] | None) -> None:
        """Refreshes the cache, then announces. What is not known any more is found by the events that were applied."""
        if changes is not None:
            await self._tell(lease, upto, _documents(row for each in changes for row in each))
            return
        await self._tell(lease, lease.cache_position, {})  # fails at once while there is nobody to tell
        while lease.cache_position < upto:
            async with self._searches:
                position, missed = await self._missed(lease, upto)
                await self._tell(lease, position, missed)
            lease.cache_position = position

    async def _tell(self, lease: Lease, position: int, changed: dict[str, Document]) -> None:
        """Raises :class:`~infra.eventsourcing.read_cache.CacheAway`, also where it cannot be said which memory has
        heard of it."""
        name, generation, shard = lease.place
        era = lease.era = self._refresher.era
        if changed:
            await self._refresher.refresh(name, generation, list(changed.items()))
        keys = [(key, document.position) for key, document in changed.items()]
        await self._refresher.announce(name, generation, shard, position, keys)
        if self._refresher.era != era:
            raise CacheAway

    async def _missed(self, lease: Lease, upto: int) -> tuple[int, dict[str, Document]]:
        """The rows that events behind ``cache_position`` touched, as they are now: as far as a page reaches."""
        table = self._keeping.table(lease)
        async with self._database.acquire() as session:
            entries = await self._log.read_shard(session, lease.shard, lease.cache_position, PAGE)
            touched = self._touched(table.projection, [entry for entry in entries if entry.position <= upto])
            rows = await table.documents(session, list(touched))
        gone = {key: Document(position, 0, b"") for key, position in touched.items()}
        whole_page = len(entries) == PAGE and entries[-1].position < upto
        return entries[-1].position if whole_page else upto, {**gone, **rows}

    def _touched(self, projection: Projection[Any], entries: Sequence[Entry]) -> dict[str, int]:
        concerns, touched = self._log.codec.registry.concerns(projection.handles), dict[str, int]()
        for entry in entries:
            if concerns(entry.type):
                with suppress(Exception):  # parked: it touched nothing
                    touched[projection.key(entry.recorded())] = entry.position
        return touched


def _documents(rows: Iterable[Written]) -> dict[str, Document]:
    """Rows as the cache takes them; of one that was written twice the last."""
    return {row.key: Document(row.position, row.version, row.document) for row in rows}
