"""Moves one consumer through all shards that this process holds: takes what has come, applies it, commits, goes on."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Generic, TypeVar

import asyncpg
import structlog

from infra.database import Database
from infra.errors import AWAY
from infra.leases import WHOLE, Grant, Place
from infra.log import Session, read_log, read_shard
from projections.runtime.consumer import Consumer, Lease, Step, is_poison
from projections.runtime.feed import Feed
from projections.runtime.folding import describe
from projections.runtime.inbox import Inbox
from projections.runtime.metrics import ConsumerMetrics
from projections.runtime.trail import Followed, Trail

C = TypeVar("C")

BATCH: Final = 500
"""Events of one shard that share a commit."""
PAGE: Final = 1_000
"""Events that are read from Postgres at once."""

_log = structlog.get_logger("weir.driver")


class Driver(Generic[C]):
    """One consumer's leases in this process.

    All its shards share each commit: what comes in while one is under way goes into the next. Whenever anything is in
    doubt (a lost connection, a fence) the leases are dropped with all they remember, and ``on_loss`` is called: they
    are taken anew, from the checkpoints.
    """

    def __init__(
        self,
        consumer: Consumer[C],
        *,
        database: Database,
        feed: Feed,
        metrics: ConsumerMetrics,
        on_loss: Callable[[], None],
    ) -> None:
        self.consumer = consumer
        self.leases: dict[int, Lease] = {}
        self.trail: Trail[C] = Trail()
        self._database = database
        self._feed = feed
        self._metrics = metrics
        self._on_loss = on_loss
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._fills: dict[int, asyncio.Task[None]] = {}
        self._skipping_since: float | None = None
        self._rested = 0.0
        self._due: float | None = None

    def adopt(self, grants: Iterable[Grant], heads: Mapping[int, int], head: int) -> None:
        """Begins with new leases. ``heads`` are the last positions of the shards, ``head`` that of the log."""
        for grant in grants:
            shard = grant.place.shard
            inbox = Inbox(grant.position, whole=self.consumer.whole, wake=self._wake.set)
            self.leases[shard] = Lease.of(grant, inbox)
            self._feed.join(inbox, dict(heads) if shard == WHOLE else {shard: heads[shard]})
            inbox.aim(head if shard == WHOLE else heads[shard])
        self._wake.set()
        self._count()

    def serve(self, consumer: Consumer[C]) -> None:
        """Goes over to another generation."""
        for lease in list(self.leases.values()):
            self.drop(lease)
        self.consumer = consumer

    async def give_up(self, places: Iterable[Place]) -> list[Lease]:
        """Ends with these leases once the batch in flight is done; answers those that it had."""
        async with self._turn:
            held = [lease for place in places if (lease := self.leases.get(place.shard)) and lease.place == place]
            for lease in held:
                self.drop(lease)
        return held

    def drop(self, lease: Lease) -> None:
        """Forgets a lease and all that was remembered under it."""
        self._feed.leave(lease.inbox)
        if self.leases.get(lease.shard) is lease:
            del self.leases[lease.shard]
        self._count()

    def look_up(self) -> None:
        """Sees to what no event would bring about: leases whose cache lags behind."""
        self.trail.catch_up(lease for lease in self.leases.values() if lease.opened)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                await self._wait()
                async with self._turn:
                    steps = self._gather()
                    if steps:
                        await self._apply(steps)
                self._fill()
        finally:
            for task in self._fills.values():
                task.cancel()
            await asyncio.gather(*self._fills.values(), return_exceptions=True)

    async def tell(self) -> None:
        """Tells what was done, beside :meth:`run` and behind it, until cancelled."""
        await self.trail.run(lambda: self.consumer)

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._due is None else max(0.0, self._due - now)):
                await self._wake.wait()
        self._wake.clear()

    def _gather(self) -> list[Step]:
        """The steps that are due."""
        whole_batch = self._take()
        moving = [lease for lease in self.leases.values() if lease.inbox.position > lease.position or not lease.opened]
        now = asyncio.get_running_loop().time()
        if not moving:
            self._skipping_since = self._due = None
            return []
        if not whole_batch:
            self._due = self._due_at(moving, now)
            if now < self._due:
                return []
        self._skipping_since = self._due = None
        if any(lease.wanted for lease in moving):
            self._rested = now + self.consumer.rest
        steps = [Step(lease, lease.wanted, lease.inbox.position) for lease in moving]
        for lease in moving:
            lease.wanted = []
        return steps

    def _take(self) -> bool:
        """Takes what has come; answers whether any shard has a whole batch of it."""
        whole_batch = False
        for lease in self.leases.values():
            taken = lease.inbox.take(BATCH)
            lease.wanted += [entry for entry in taken if self.consumer.wants(entry)]
            if len(taken) == BATCH:
                whole_batch = True
                self._wake.set()
        return whole_batch

    def _due_at(self, moving: Sequence[Lease], now: float) -> float:
        """When to move: after the rest that is due after a commit. A move past events of no concern waits longer."""
        if not all(lease.opened for lease in moving):
            return now
        if any(lease.wanted for lease in moving):
            return self._rested
        if self._skipping_since is None:
            self._skipping_since = now
        return max(self._rested, self._skipping_since + self.consumer.linger)

    async def _apply(self, steps: Sequence[Step]) -> None:
        try:
            async with self._database.session() as session:
                await self._move(session, steps)
        except (*AWAY, asyncpg.PostgresError) as error:
            self._retreat(error)

    async def _move(self, session: Session, steps: Sequence[Step]) -> None:
        try:
            changes = await self.consumer.advance(session, steps)
        except Exception as error:
            if not is_poison(error):
                raise
            await self._isolate(session, steps, error)
        else:
            self._settle(steps, changes)

    async def _isolate(self, session: Session, steps: Sequence[Step], error: Exception) -> None:
        """Postgres refuses the values: halves the batch until the event at fault is alone, and its stream is parked."""
        if len(steps) > 1:
            for step in steps:
                await self._move(session, [step])
            return
        step = steps[0]
        if len(step.entries) == 1:
            self._settle([step], await self.consumer.park(session, step, describe(error)))
            return
        middle = len(step.entries) // 2
        first, rest = step.entries[:middle], step.entries[middle:]
        await self._move(session, [Step(step.lease, first, first[-1].position)])
        if self.leases.get(step.lease.shard) is step.lease:
            await self._move(session, [Step(step.lease, rest, step.upto)])

    def _settle(self, steps: Sequence[Step], changes: Mapping[int, C]) -> None:
        followed = []
        for step in steps:
            lease = step.lease
            if lease.shard in changes:
                followed.append(Followed(lease, lease.position, step.upto, changes[lease.shard]))
                lease.position, lease.opened = step.upto, True
            else:
                self._fenced(lease)
        self.trail.add(followed)
        self._measure(steps)

    def _fenced(self, lease: Lease) -> None:
        _log.warning("fenced", consumer=self.consumer.name, shard=lease.shard, epoch=lease.epoch)
        self._metrics.fenced.inc()
        self.drop(lease)
        self._on_loss()

    def _retreat(self, error: Exception) -> None:
        """What was committed is not known: nothing remembered can be trusted."""
        _log.warning("leases dropped", consumer=self.consumer.name, error=describe(error))
        for lease in list(self.leases.values()):
            self.drop(lease)
        self._on_loss()

    def _fill(self) -> None:
        """Has the missing events read for each lease that is behind, beside the work on the others."""
        for lease in self.leases.values():
            if lease.inbox.behind() and lease.shard not in self._fills:
                task = asyncio.create_task(self._read(lease))
                self._fills[lease.shard] = task
                task.add_done_callback(partial(self._filled, lease.shard))

    def _filled(self, shard: int, _task: asyncio.Task[None]) -> None:
        del self._fills[shard]
        self._wake.set()

    async def _read(self, lease: Lease) -> None:
        after = lease.inbox.position
        try:
            async with self._database.acquire() as session:
                if lease.shard == WHOLE:
                    entries = await read_log(session, after, PAGE)
                else:
                    entries = await read_shard(session, lease.shard, after, PAGE)
        except (*AWAY, asyncpg.PostgresError) as error:
            self._retreat(error)
        else:
            self._metrics.from_postgres.inc(len(entries))
            lease.inbox.supply(entries, after=after)

    def _count(self) -> None:
        self._metrics.owned.set(len(self.leases))

    def _measure(self, steps: Sequence[Step]) -> None:
        applied = [entry for step in steps for entry in step.entries]
        self._metrics.batches.inc()
        if applied:
            self._metrics.applied.inc(len(applied))
            oldest = min(entry.recorded_at for entry in applied)
            delay = (datetime.now(UTC) - oldest).total_seconds()
            self._metrics.delay.observe(max(0.0, delay))
