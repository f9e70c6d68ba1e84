"""The relay: one leader carries the log into the Redis streams as it grows; the others stand by.

It may stop, lose Redis or be doubled at any moment. Entries have the log's positions for ids, so Redis itself refuses
what is there already, and consumers fill from Postgres whatever is missing.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from time import monotonic
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from infra.concurrency.backoff import Backoff, Pauses
from infra.concurrency.waiting import happens
from infra.eventsourcing.configs import RelayConfig
from infra.eventsourcing.event_log import EventLog, begin_history, log_head
from infra.eventsourcing.leases import Leader
from infra.eventsourcing.projections.fold import describe
from infra.eventsourcing.relay.page import Page, read_page
from infra.eventsourcing.relay.page_origins import tell_published, traced
from infra.eventsourcing.relay.publisher import OtherHistory, Publisher
from infra.eventsourcing.resharding import MOST
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.redis.client import BROKEN
from infra.redis.keyspace import Keyspace
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.stream_memory import drop_other_histories, read_memory
from infra.redis.topology.connection import connect_to
from infra.redis.topology.opening import open_wires
from infra.redis.topology.wires import Wires

LEASE: Final = "relay"
IDLE_SECONDS: Final = 0.05
"""How often it looks without being rung for: the doorbell is only a hint, and may be lost with Redis."""
UNREADABLE: Final = Backoff(first=0.05, factor=2.0, longest=30.0)
"""After a page that nobody can make sense of, until somebody has mended it. Consumers read from Postgres meanwhile."""

_log = structlog.get_logger("weir.relay")


class RelayMetrics:
    """What the relay has done."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter("weir_relay_published_events", "Events written into streams.", registry=registry)
        self.lag = Gauge("weir_relay_lag_events", "Events of the log that are not in the streams.", registry=registry)
        self.lag_seconds = Gauge(
            "weir_relay_lag_seconds",
            "Since when the leader has not had all of the log in the streams. It grows while either server is away.",
            registry=registry,
        )
        self.complete: float | None = None
        self.lag_seconds.set_function(lambda: 0.0 if self.complete is None else monotonic() - self.complete)
        self.full = Counter(
            "weir_relay_out_of_memory", "Times that Redis had no memory for what was to be written.", registry=registry
        )
        self.streams = Gauge("weir_relay_stream_bytes", "Memory that the streams take, about.", registry=registry)
        self.budget = Gauge("weir_relay_stream_budget_bytes", "Memory that they may take.", registry=registry)
        self.used = Gauge("weir_redis_memory_used_bytes", "Memory that Redis uses.", registry=registry)
        self.limit = Gauge("weir_redis_memory_limit_bytes", "Its maxmemory; 0 if it has none.", registry=registry)
        self.leading = Gauge("weir_relay_leading", "1 where this process is the leader.", registry=registry)


class _Deposed(Exception):
    """Another process leads now."""


class Relay:
    """A relay in one process."""

    def __init__(
        self,
        database: Database,
        log: EventLog,
        config: RelayConfig,
        metrics: RelayMetrics,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.leader = Leader(database, LEASE, config.lease_seconds)
        self.publisher = Publisher(
            Keyspace.of(log.history),
            shards=log.shards,
            length=config.stream_length,
            on_full=lambda: metrics.full.inc(),
        )
        self._stream_bytes = config.stream_bytes
        self._followed = config.followed
        self._warned: list[str] = []
        self._database = database
        self._url = config.redis_url
        self._idle_seconds = idle_seconds
        self._log = log
        self._lease_seconds = config.lease_seconds
        self.metrics = metrics
        self._bell = asyncio.Event()
        self._resumed = 0
        self._pauses = Pauses()
        self._stumbles = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Leads or stands by until ``stop``, then resigns. Survives any loss of Postgres or Redis, and any row."""
        stopping = asyncio.create_task(self._last_bell(stop))
        try:
            while not stop.is_set():
                await self._lead_or_wait(stop)
        finally:
            stopping.cancel()
        await self._resign()

    async def _lead_or_wait(self, stop: asyncio.Event) -> None:
        try:
            if await self.leader.lead():
                await self._lead(stop)
            else:
                self._stand_by()
                await self._wait(self._lease_seconds / 5)
        except _Deposed:
            self._stand_by()
            _log.warning("another relay leads")
        except OtherHistory:
            self._resumed, self.publisher.cursor, self.publisher.recorded_at = 0, 0, None
            await self._begin_history()
        except (*PASSING, *BROKEN) as error:
            _log.warning("relay waits", error=f"{type(error).__name__}: {error}")
            if isinstance(error, ResponseError):
                self._resumed = 0  # what lies there may not be ours: that is seen to before it is tried again
            self._bell.clear()
            await self._wait(self._pauses.next())
        except Exception as error:
            await self._stumble(error, stop)
        finally:
            self.metrics.leading.set(0)

    async def _stumble(self, error: Exception, stop: asyncio.Event) -> None:
        """What is no loss of a server comes again at each try. To end over it would end nothing: the next process would
        find the same. So it is told once, and tried again, here or by whoever leads then, from where a new one begins:
        what has long been read from Postgres is passed over."""
        self._stumbles += 1
        if self._stumbles == 1:
            _log.exception("page cannot be carried", after=self.publisher.cursor, error=describe(error))
        self._resumed = 0
        self.metrics.leading.set(0)
        await self._resign()
        await happens(stop, UNREADABLE.after(self._stumbles))

    def _stand_by(self) -> None:
        """What is late is told by the one that leads."""
        self.metrics.complete = None
        self.metrics.lag.set(0)

    async def _measure(self) -> None:
        """Also while Redis is away: then above all somebody wants to know."""
        async with self._database.acquire() as session:
            head = await log_head(session)
        self.metrics.lag.set(max(0, head - self.publisher.cursor))
        if head < self.publisher.cursor:
            raise OtherHistory
        if self.metrics.complete is None:
            self.metrics.complete = monotonic()

    async def _lead(self, stop: asyncio.Event) -> None:
        await self._measure()
        async with self._opened() as (wires, bell):
            await self._look_at_memory(wires)
            # A leader that only lost its connections goes on where it was; one that is new, or was refused, looks where
            # that is.
            if self._resumed != self.leader.epoch:
                await drop_other_histories(wires, Keyspace.of(self._log.log_id), Keyspace.of(self._log.history), MOST)
                async with self._database.acquire() as session:
                    ours = await self.publisher.resume(session, wires)
                if not ours:
                    await self._begin_history()
                self._resumed = self.leader.epoch
                _log.info("relay leads", epoch=self.leader.epoch, cursor=self.publisher.cursor)
            self.metrics.leading.set(1)
            while not stop.is_set():
                if not bell.up:
                    raise RedisConnectionError("the doorbell was lost")
                await self._renew(wires)
                if not await self._carry(wires):
                    self._stumbles = 0
                    self._pauses.reset()
                    await self._wait(self._idle_seconds)

    async def _begin_history(self) -> None:
        """So that all processes take other names in Redis, this one among them. Until then it goes on under the old."""
        try:
            await begin_history(self._database, self._log)
        except PASSING as error:
            _log.warning("no other history is begun", error=type(error).__name__)

    async def _renew(self, wires: Wires) -> None:
        if self.leader.due:
            if not await self.leader.lead():
                raise _Deposed
            await self._measure()
            await self._look_at_memory(wires)

    async def _look_at_memory(self, wires: Wires) -> None:
        """What the streams may take, for as long as Redis is set up as it is; says once what is wrong with that."""
        memories, rooms = await read_memory(wires), self.publisher.rooms
        await self.publisher.settle(wires)
        warnings = rooms.allot(memories, self._stream_bytes)
        self.metrics.budget.set(rooms.budget)
        self.metrics.streams.set(rooms.size)
        self.metrics.used.set(sum(memory.used for memory in memories.values()))
        self.metrics.limit.set(sum(memory.limit for memory in memories.values()))
        for warning in warnings:
            if warning not in self._warned:
                _log.warning("Redis should be set up otherwise", advice=warning)
        self._warned = warnings

    async def _carry(self, wires: Wires) -> bool:
        """Publishes a page, and while it is on its way has the next one read; answers whether there is more to do."""
        self._bell.clear()
        began = monotonic()
        page = await self._read(self.publisher.cursor, self.publisher.recorded_at)
        while page.rows:
            following = asyncio.create_task(self._read(page.last, page.recorded_at)) if page.full else None
            try:
                with traced(page):
                    self.metrics.published.inc(await self.publisher.publish(wires, page))
                tell_published(page)
                page = await following if following else Page([])
            finally:
                if following:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
            if self.leader.due:
                return True
        self.metrics.complete = began
        return self._bell.is_set()

    async def _read(self, after: int, recorded_at: datetime | None) -> Page:
        async with self._database.acquire() as session:
            most = self.publisher.page_bytes
            return await read_page(session, after, recorded_at, most=most, followed=self._followed)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[tuple[Wires, PipelineConnection]]:
        """The connections that are written to, and beside them one that listens for the doorbell."""
        doorbell = Keyspace.of(self._log.log_id).doorbell
        bell = await connect_to(self._url, doorbell, on_push=lambda _: self._bell.set())
        try:
            await bell.ask_one(pack("SUBSCRIBE", doorbell))
            wires = await open_wires(self._url)
            try:
                yield wires, bell
            finally:
                wires.close()
        finally:
            bell.close()

    async def _wait(self, seconds: float) -> None:
        """Until the bell rings, or so long."""
        await happens(self._bell, seconds * random.uniform(0.8, 1.0))  # noqa: S311

    async def _last_bell(self, stop: asyncio.Event) -> None:
        """So that nothing is waited for any more."""
        await stop.wait()
        self._bell.set()

    async def _resign(self) -> None:
        if self.leader.epoch:
            try:
                await self.leader.resign()
            except PASSING as error:
                _log.warning("the lease runs out by itself", error=str(error))
