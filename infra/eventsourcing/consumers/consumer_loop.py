"""Moves one consumer through all places that this process holds: takes what has come, applies it, commits, goes on."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar, assert_never

import asyncpg
import structlog

from infra.concurrency.waiting import happens
from infra.eventsourcing.consumers.batch_origins import correlations, tell_applied, traced
from infra.eventsourcing.consumers.consumer import Answers, Batch, Consumer, Lease, Refusal, is_away, is_poison
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.consumers.pacing import Pace
from infra.eventsourcing.consumers.page_reader import Reader, Readers
from infra.eventsourcing.consumers.post_commit import Followed, PostCommit
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.leases import Place
from infra.eventsourcing.projections.fold import describe
from infra.postgres.pool import Database

C = TypeVar("C")

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 1.0
"""Between two tries at a place whose checkpoint somebody else holds, or whose table does not let itself be written."""

MOST_TOLD: Final = 20
"""Events of a batch that failed whose requests are named."""

_log = structlog.get_logger("weir.driver")


class Driver(Generic[C]):
    """One consumer's leases in this process.

    All its places share each commit: what comes in while one is under way goes into the next. Where that fails they
    are tried one by one, and the one at fault alone is held up. Whenever anything is in doubt (a lost connection, a
    fence) the leases are dropped with all they remember, and ``on_loss`` is called: they are taken anew, from the
    checkpoints.
    """

    def __init__(
        self,
        consumer: Consumer[C],
        *,
        database: Database,
        log: EventLog,
        feed: Feed,
        metrics: RuntimeMetrics,
        on_loss: Callable[[], None],
    ) -> None:
        self.consumer = consumer
        self.members = {member.name: member for member in consumer.members}
        self.leases: dict[Place, Lease] = {}
        self.trail: PostCommit[C] = PostCommit(consumer)
        self._database = database
        self._metrics = metrics
        self._on_loss = on_loss
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._due: float | None = None
        self._paces = {name: Pace(member) for name, member in self.members.items()}
        self.readers = Readers(
            self.members, whole=consumer.whole, database=database, log=log, feed=feed, wake=self._wake
        )

    def adopt(self, leases: Sequence[Lease], heads: Mapping[int, int]) -> None:
        """Begins with new leases. ``heads`` are the last positions of the shards, and of the log."""
        for lease in leases:
            if former := self.leases.get(lease.place):
                self.drop(former)
            self.leases[lease.place] = lease
            lease.head = heads[lease.shard]
        self.readers.begin(leases, heads)
        self._wake.set()
        self._count()

    async def give_up(self, places: Iterable[Place]) -> list[Lease]:
        """Ends with these leases once the batch in flight is done; answers those that it had."""
        async with self._turn:
            held = [self.leases[place] for place in places if place in self.leases]
            for lease in held:
                self.drop(lease)
        return held

    def drop(self, lease: Lease) -> None:
        """Forgets a lease and all that was remembered under it."""
        self.readers.end(lease)
        if self.leases.get(lease.place) is lease:
            del self.leases[lease.place]
        self._count()

    def look(self, heads: Mapping[int, int]) -> None:
        """Sees to what no event would bring about: events that no stream has brought, caches that lag behind."""
        self.readers.aim(heads)
        self.trail.catch_up(lease for lease in self.leases.values() if lease.opened)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            while True:
                await self._wait()
                async with self._turn:
                    for lease, upto in self.readers.astray():
                        self._not_of_this_log(Batch(lease, [], upto, None))
                    if batches := self._gather():
                        await self._apply(batches)
                self.readers.fill(self._filled)
        finally:
            await self.readers.close()
            await self.trail.end()

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        await happens(self._wake, None if self._due is None else max(0.0, self._due - now))
        self._wake.clear()

    def _gather(self) -> list[Batch]:
        """The batches that are due: of a member all or none, but for places that have failed: each of them waits by
        itself."""
        now, batches, later = asyncio.get_running_loop().time(), [], []
        together: dict[str, list[tuple[Reader, Lease]]] = {}
        at_once = set()
        for reader, whole_batch in self.readers.take():
            for lease in reader.moving():
                if not lease.failures:
                    together.setdefault(lease.place.consumer, []).append((reader, lease))
                    at_once |= {lease.place.consumer} if whole_batch else set()
                elif lease.retry_at <= now:
                    batches.append(reader.batch(lease))
                else:
                    later.append(lease.retry_at)
        dues = {
            name: now if name in at_once else self._paces[name].due([lease for _, lease in moving], now)
            for name, moving in together.items()
        }
        company = any(due <= now for due in dues.values())
        for name, due in dues.items():
            if due <= now or (company and self._paces[name].joins(now)):
                moved = [reader.batch(lease) for reader, lease in together[name]]
                self._paces[name].move(moved, now)
                batches += moved
            else:
                later.append(due)
        self._due = min(later, default=None)
        return batches

    async def _apply(self, batches: Sequence[Batch]) -> None:
        try:
            async with self._database.session() as session:
                held_up = {place.consumer for place, lease in self.leases.items() if lease.failures}
                for part in sound_first(batches, held_up):
                    await self._move(session, part)
        except Exception as error:
            if not is_away(error):
                raise
            self._retreat(error)

    async def _move(self, session: Session, batches: Sequence[Batch]) -> None:
        """Moves as many as can be moved: of those that fail together, each half is tried by itself."""
        try:
            with traced(batches):
                answers = await self.consumer.advance(session, batches)
        except Exception as error:
            if is_away(error):
                raise
            parts = _apart(batches, error)
            if len(parts) > 1:
                for part in parts:
                    await self._move(session, part)
            elif len(batches) == 1 and is_poison(error) and batches[0].entries:
                await self._isolate(session, batches[0], error)
            else:
                for batch in batches:
                    self._put_back(batch, describe(error))
        else:
            self._settle(batches, answers)

    async def _isolate(self, session: Session, batch: Batch, error: Exception) -> None:
        """Halves what fails until the event at fault is alone, and its stream is parked."""
        if len(batch.entries) == 1:
            self._settle([batch], await self.consumer.park(session, batch, describe(error)))
            return
        middle = len(batch.entries) // 2
        first, rest = batch.entries[:middle], batch.entries[middle:]
        await self._move(session, [Batch(batch.lease, first, first[-1].position, first[-1].recorded_at)])
        if batch.lease.position == first[-1].position:
            await self._move(session, [Batch(batch.lease, rest, batch.upto, batch.recorded_at)])
        elif batch.lease.wanted:  # the first half was put back, and the rest stays behind it
            batch.lease.wanted += rest

    def _settle(self, batches: Sequence[Batch], answers: Answers[C]) -> None:
        followed = []
        for batch in batches:
            lease, answer = batch.lease, answers.get(batch.lease, Refusal.BUSY)
            if isinstance(answer, Refusal):
                self._refused(batch, answer)
            else:
                followed.append(Followed(lease, lease.position, batch.upto, len(batch.entries), answer))
                self._moved(batch)
        self.trail.add(followed)
        tell_applied([batch for batch in batches if batch.entries and batch.lease.position == batch.upto])

    def _refused(self, batch: Batch, why: Refusal) -> None:
        match why:
            case Refusal.FENCED:
                self._fenced(batch.lease)
            case Refusal.STRANGE:
                self._not_of_this_log(batch)
            case Refusal.BUSY:
                self._put_back(batch, None)
            case _:
                assert_never(why)

    def _moved(self, batch: Batch) -> None:
        lease = batch.lease
        lease.position, lease.opened, lease.failures = batch.upto, True, 0
        metrics = self._metrics.of(lease.place.consumer)
        metrics.batches.inc()
        if batch.entries:
            metrics.applied.inc(len(batch.entries))
            delay = (datetime.now(UTC) - batch.entries[0].recorded_at).total_seconds()
            metrics.delay.observe(max(0.0, delay))

    def _put_back(self, batch: Batch, error: str | None) -> None:
        """Tries it again after a while that grows, and holds up nobody else meanwhile."""
        lease = batch.lease
        lease.wanted = [*batch.entries, *lease.wanted]
        lease.failures += 1
        pause = min(FIRST_PAUSE * 2 ** min(lease.failures, 10), LONGEST_PAUSE)
        lease.retry_at = asyncio.get_running_loop().time() + pause
        self._wake.set()
        if error:
            place = {"consumer": lease.place.consumer, "shard": lease.shard}
            _log.error("step failed", **place, error=error, correlation_ids=correlations(batch.entries[:MOST_TOLD]))

    def _not_of_this_log(self, batch: Batch) -> None:
        """The streams hold another history than the log. What this one holds is read from Postgres."""
        lease = batch.lease
        _log.error("events are not in the log", consumer=lease.place.consumer, shard=lease.shard, upto=batch.upto)
        self._metrics.of(lease.place.consumer).strange.inc()
        self.readers.start_again(lease, batch.upto)
        self._wake.set()

    def _fenced(self, lease: Lease) -> None:
        _log.warning("fenced", consumer=lease.place.consumer, shard=lease.shard, epoch=lease.epoch)
        self._metrics.of(lease.place.consumer).fenced.inc()
        self.drop(lease)
        self._on_loss()

    def _retreat(self, error: Exception) -> None:
        """What was committed is not known: nothing remembered can be trusted."""
        _log.warning("leases dropped", consumers=list(self.members), error=describe(error))
        for lease in list(self.leases.values()):
            self.drop(lease)
        self._on_loss()

    def _filled(self, reader: Reader, entries: Sequence[Entry]) -> None:
        for lease in reader.leases:
            self._metrics.of(lease.place.consumer).from_postgres.inc(len(entries))

    def _count(self) -> None:
        for name in self.members:
            self._metrics.of(name).owned.set(sum(place.consumer == name for place in self.leases))


def sound_first(batches: Sequence[Batch], held_up: Collection[str]) -> list[Sequence[Batch]]:
    """Steps of consumers of which some place has failed come last and by themselves.

    They may have to wait for the same lock again; and where a table is locked, so may those of its other places.
    """
    sound = [batch for batch in batches if batch.lease.place.consumer not in held_up]
    failed = [batch for batch in batches if batch.lease.place.consumer in held_up]
    return [part for part in (sound, failed) if part]


def _apart(batches: Sequence[Batch], error: Exception) -> list[Sequence[Batch]]:
    """What failed together, to be tried apart: each consumer by itself, then halves.

    A table that somebody has locked is one consumer's, and each try costs the others the wait for it: no halves.
    """
    names = sorted({batch.lease.place.consumer for batch in batches})
    if len(names) > 1:
        return [[batch for batch in batches if batch.lease.place.consumer == name] for name in names]
    if len(batches) == 1 or isinstance(error, asyncpg.LockNotAvailableError):
        return [batches]
    middle = len(batches) // 2
    return [batches[:middle], batches[middle:]]
