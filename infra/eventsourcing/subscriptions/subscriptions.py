"""The subscriptions of one process: what is followed here, what rings for it, and who reads it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge

from infra.concurrency.cancellation import cancel_and_wait
from infra.eventsourcing.configs import SubscriptionConfig
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.subscriptions.log_reads import EVERYTHING, LogReads, Wanted
from infra.eventsourcing.subscriptions.news_reader import LogNews, NewsReader, StreamNews
from infra.eventsourcing.subscriptions.source import Source
from infra.eventsourcing.subscriptions.subscription import Reason, Subscription, nobody_waits
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.redis.push_channel import Channel
from infra.redis.resilient_connection import kept


class Subscriptions:
    """Who follows what. However many follow a stream, it is listened to once, and read once for each ring.

    What nobody follows here costs nothing here: the relay rings for each stream by itself.
    """

    def __init__(
        self, config: SubscriptionConfig, database: Database, current: CurrentLog, registry: CollectorRegistry
    ) -> None:
        self._config = config
        self._keys = Keyspace.of(current.history)
        self._channel = Channel(config.redis_url, Keyspace.of(current.log.log_id).followers, self)
        self._reads = LogReads(database, current)
        fence, poll = self._channel.fence, config.poll_seconds
        self._streams = NewsReader(StreamNews(self._reads), fence, poll_seconds=poll)
        self._log = NewsReader(LogNews(self._reads), fence, poll_seconds=poll, rest_seconds=config.log_rest_seconds)
        self._sources: dict[UUID | None, Source] = {}
        self._open: set[Subscription] = set()
        self._closed = False
        current.follow(self._begin_anew)
        self._measure(registry)

    def _measure(self, registry: CollectorRegistry) -> None:
        followers = Gauge("weir_followers", "Followers of a stream, or of the log.", registry=registry)
        followers.set_function(lambda: len(self._open))
        followed = Gauge("weir_followed_streams", "Streams that are followed here.", registry=registry)
        followed.set_function(lambda: len(self._sources))
        self._too_slow = Counter(
            "weir_followers_too_slow", "Followers that were ended as they were too slow.", registry=registry
        )

    @property
    def followed(self) -> int:
        """How many sources are followed, by however many."""
        return len(self._sources)

    @property
    def reads(self) -> int:
        """How many statements have looked for what is new."""
        return self._streams.reads + self._log.reads

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens and reads until the end of the block; then whoever follows is ended."""
        keepers = (self._channel.keep, self._streams.run, self._log.run)
        running = [asyncio.create_task(kept(keeper)) for keeper in keepers]
        try:
            yield
        finally:
            self.close()
            await cancel_and_wait(*running)

    @contextmanager
    def to_stream(self, stream_id: UUID, *, after: int) -> Iterator[Subscription]:
        """Follows a stream behind a version, until the end of the block."""
        with self._subscribed(stream_id, self._keys.stream(stream_id), after, EVERYTHING) as subscription:
            yield subscription

    @contextmanager
    def to_log(self, *, after: int, wanted: Wanted = EVERYTHING) -> Iterator[Subscription]:
        """Follows the log behind a position, until the end of the block."""
        with self._subscribed(None, self._keys.log, after, wanted) as subscription:
            yield subscription

    def close(self) -> None:
        """Ends all subscriptions, and each new one as soon as it is there: the process is to end."""
        self._closed = True
        self._end(Reason.CLOSED)

    def _end(self, reason: Reason) -> None:
        for subscription in list(self._open):
            subscription.end(reason)
        for source in list(self._sources.values()):
            self._drop(source)
            source.begun.set()

    @contextmanager
    def _subscribed(self, key: UUID | None, topic: str, after: int, wanted: Wanted) -> Iterator[Subscription]:
        source = self._sources.get(key) or self._add(Source(key, topic))
        subscription = Subscription(source, self._reads, after, wanted, self._config)
        source.followers.add(subscription)
        self._open.add(subscription)
        if self._closed:
            subscription.end(Reason.CLOSED)
        try:
            yield subscription
        finally:
            self._open.discard(subscription)
            source.followers.discard(subscription)
            subscription.on_news = nobody_waits
            if subscription.ended is Reason.TOO_SLOW:
                self._too_slow.inc()
            if not source.followers:
                self._drop(source)

    def _reader(self, source: Source) -> NewsReader:
        return self._log if source.stream_id is None else self._streams

    def _add(self, source: Source) -> Source:
        self._sources[source.stream_id] = source
        self._channel.listen(source.topic)
        self._reader(source).add(source)
        return source

    def _drop(self, source: Source) -> None:
        """One that was dropped before may have another in its place by now."""
        if self._sources.get(source.stream_id) is source:
            del self._sources[source.stream_id]
            self._channel.leave(source.topic)
            self._reader(source).drop(source)

    def _begin_anew(self, log: EventLog) -> None:
        """The log has another history: what was told of the one before may be gone."""
        self._end(Reason.OTHER_HISTORY)
        self._keys = Keyspace.of(log.history)

    def opened(self) -> None:
        """Rings are heard from here on; before, some may have been missed."""
        self._streams.ring_all()
        self._log.ring_all()

    def announced(self, message: Mapping[str, Any]) -> None:
        """The relay rings. What was read already is not read again for it."""
        source = self._sources.get(UUID(message["stream"]) if "stream" in message else None)
        if source is not None and source.is_behind(message["upto"]):
            self._reader(source).ring(source)

    def lost(self) -> None:
        """Nobody is heard for now: it is looked all the same."""
