"""The consuming side of one or more processes, opened for a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from infra.configs import pool_of, relay_of, worker_pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.consumers.consumer import Answers, Batch, Consumer, Lease, Member, move
from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import EventLog, Session, identify
from infra.eventsourcing.leases import WHOLE, Place
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.projector import Projecting, Refresher
from infra.eventsourcing.read_cache import CacheAway, Document
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.postgres.pool import Database
from infra.redis.topology.library import open_redis
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.event_logs import LogWriter, Shop, expected_rows, log_writer, stored_rows
from tests.support.write_side import eventually

SHARDED, WHOLE_LOG = "sharded_recorder", "whole_recorder"


@dataclass
class Told:
    """A cache that only remembers what it was told, and can be made to go away."""

    away: bool = False
    era: str = ""
    documents: dict[tuple[str, int, str], Document] = field(default_factory=dict)
    news: list[tuple[str, int, int, int, list[tuple[str, int]]]] = field(default_factory=list)
    foreseen: list[tuple[str, int, str]] = field(default_factory=list)

    def foresee(self, projection: str, generation: int, key: str) -> None:
        self.foreseen.append((projection, generation, key))

    async def expect(self) -> None:
        pass

    async def refresh(self, projection: str, generation: int, documents: Sequence[tuple[str, Document]]) -> None:
        self._reach()
        for key, document in documents:
            held = self.documents.get((projection, generation, key))
            if held is None or held.position <= document.position:
                self.documents[projection, generation, key] = document

    async def announce(
        self, projection: str, generation: int, shard: int, position: int, keys: Sequence[tuple[str, int]]
    ) -> None:
        self._reach()
        for key, at in keys:
            assert self.documents[projection, generation, key].position >= at, "announced before it was cache_position"
        self.news.append((projection, generation, shard, position, list(keys)))

    def _reach(self) -> None:
        if self.away:
            raise CacheAway


class Recorder:
    """A consumer that writes down every event that it is given, in the transaction of its checkpoint."""

    era = ""

    def __init__(
        self, *, whole: bool, fenced: bool = True, pause: asyncio.Event | None = None, rest: float = 0.0
    ) -> None:
        self.name = WHOLE_LOG if whole else SHARDED
        self.whole = whole
        self.members = [
            Member(name=self.name, rest=rest, linger=0.01, wants=lambda event_type: event_type != "product.repriced")
        ]
        self.commits: list[int] = []
        self.begun = asyncio.Event()
        self._fenced = fenced
        self._pause = pause

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[int]:
        self.begun.set()
        if came := sum(len(batch.entries) for batch in batches):
            self.commits.append(came)
        if self._pause is not None:
            await self._pause.wait()
        async with session.transaction():
            refused = await move(session, batches)
            written = [batch for batch in batches if batch.lease not in refused or not self._fenced]
            await session.executemany(
                "INSERT INTO seen (consumer, shard, position) VALUES ($1, $2, $3)",
                [(self.name, batch.lease.shard, entry.position) for batch in written for entry in batch.entries],
            )
        return {batch.lease: batch.upto if batch in written else refused[batch.lease] for batch in batches}

    async def park(self, _session: Session, _batch: Batch, error: str) -> Answers[int]:
        raise AssertionError(error)

    async def after_commit(self, lease: Lease, upto: int, changes: Sequence[int] | None) -> None:
        pass


class Scene:
    """A log that is written to, a relay, and processes that consume."""

    def __init__(self, settings: Settings, database: Database, log: EventLog, writer: LogWriter, redis: Redis) -> None:
        self.settings = settings
        self.database = database
        self.log = log
        self.writer = writer
        self.redis = redis
        self.shop = Shop.of(2)
        self.told = Told()

    async def happens(self, count: int) -> int:
        """Appends so many events; answers the last position."""
        return (await self.writer.append(self.shop.happenings(count)))[-1]

    @asynccontextmanager
    async def relay(self, **changes: Any) -> AsyncIterator[Relay]:
        settings = self.settings.model_copy(update=changes)
        relay = Relay(self.database, self.log, relay_of(settings), RelayMetrics(CollectorRegistry()))
        async with _until_done(relay.run):
            yield relay

    @asynccontextmanager
    async def process(
        self,
        consumers: Sequence[Consumer[Any]],
        kind: str = "tests",
        metrics: RuntimeMetrics | None = None,
        **changes: Any,
    ) -> AsyncIterator[Host]:
        """A process that consumes, with a pool of its own."""
        settings = self.settings.model_copy(update={"lease_seconds": 1.0, **changes})
        database = Database(worker_pool_of(settings))
        host = Host(
            consumers,
            kind=kind,
            database=database,
            redis_url=settings.redis_url,
            log=self.log,
            lease_seconds=settings.lease_seconds,
            metrics=metrics or RuntimeMetrics(CollectorRegistry()),
            standalone=_places(consumers, self.log.shards),
        )
        try:
            async with _until_done(host.run):
                yield host
        finally:
            await database.close()

    @asynccontextmanager
    async def projector(
        self, projections: Mapping[str, Projection[Any]] = PROJECTIONS, cache: Refresher | None = None, **changes: Any
    ) -> AsyncIterator[Host]:
        """A process that runs read models, and tells ``cache`` of their changes, or else ``told``."""
        async with AsyncExitStack() as stack:
            database = Database(worker_pool_of(self.settings.model_copy(update=changes)))
            stack.push_async_callback(database.close)
            metrics = RuntimeMetrics(CollectorRegistry())
            told = cache or self.told
            consumer = Projecting(projections, database=database, log=self.log, refresher=told, metrics=metrics)
            yield await stack.enter_async_context(self.process([consumer], "projections", metrics, **changes))

    async def seen(self, consumer: str, shard: int) -> list[int]:
        """What the recorder wrote down, in the order in which it did."""
        rows = await self.database.fetch(
            "SELECT position FROM seen WHERE consumer = $1 AND shard = $2 ORDER BY number", consumer, shard
        )
        return [row[0] for row in rows]

    async def wanted(self, shard: int) -> list[int]:
        """What a recorder should have written down by now."""
        rows = await self.database.fetch(
            "SELECT position FROM events WHERE (shard = $1 OR $1 = -1) AND type <> 'product.repriced' "
            "ORDER BY position",
            shard,
        )
        return [row[0] for row in rows]

    async def all_seen(self, consumer: str, seconds: float = 10) -> None:
        """Waits until the recorder's checkpoints are at the head, and sees that it wrote each event once, in order."""
        shards = [WHOLE] if consumer == WHOLE_LOG else list(range(self.log.shards))
        await self.reached(consumer, seconds)
        for shard in shards:
            assert await self.seen(consumer, shard) == await self.wanted(shard)

    async def reached(self, consumer: str, seconds: float = 10) -> None:
        """Waits until all checkpoints of the consumer are at the last event of their shard."""

        async def there() -> bool:
            rows = await self.database.fetch(
                "SELECT c.position >= coalesce((SELECT max(position) FROM events e "
                "WHERE e.shard = c.shard OR c.shard = -1), 0) "
                "FROM checkpoints c LEFT JOIN projections p ON p.name = c.consumer "
                "WHERE c.consumer = $1 AND c.generation = coalesce(p.live_generation, 0)",
                consumer,
            )
            return bool(rows) and all(row[0] for row in rows)

        await eventually(there, seconds)

    async def kept(self, seconds: float = 10, generation: int = 1) -> None:
        """Waits until the read models are at the head, and sees that they equal an independent fold of the log."""
        for projection in PROJECTIONS.values():
            await self.kept_by(projection, generation, seconds)

    async def kept_by(self, projection: Projection[Any], generation: int = 1, seconds: float = 10) -> None:
        """The same of one read model."""
        await self.reached(projection.name, seconds)
        expected = await expected_rows(self.writer.session, projection)
        assert await stored_rows(self.writer.session, projection, generation) == expected


def both() -> list[Recorder]:
    """One consumer of each kind."""
    return [Recorder(whole=False), Recorder(whole=True)]


def _places(consumers: Sequence[Consumer[Any]], shards: int) -> list[Place]:
    names = {member.name for consumer in consumers for member in consumer.members}
    places = [Place(SHARDED, 0, shard) for shard in range(shards)] if SHARDED in names else []
    return [*places, Place(WHOLE_LOG, 0, WHOLE)] if WHOLE_LOG in names else places


@asynccontextmanager
async def _until_done(run: Callable[[asyncio.Event], Any]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    """A log with its read models laid down, and a place for recorders to write."""
    database, url = Database(pool_of(settings)), settings.database_url.get_secret_value()
    # Of what the library's clients of one server and of a cluster have in common no more is asked.
    async with log_writer(url) as writer, cast("Redis", open_redis(settings.redis_url)) as redis:
        await install(writer.session, PROJECTIONS)
        await writer.session.execute(
            "CREATE TABLE IF NOT EXISTS seen (number bigserial, consumer text, shard smallint, position bigint)"
        )
        log = await identify(writer.session, CODEC)
        try:
            yield Scene(settings, database, log, writer, redis)
        finally:
            await database.close()
