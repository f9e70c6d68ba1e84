"""The reader of what is new: one loop for all sources of a kind, and one read for all of them that were rung for."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from infra.concurrency.backoff import Pauses
from infra.concurrency.waiting import happens
from infra.eventsourcing.subscriptions.followed_event import FollowedEvent
from infra.eventsourcing.subscriptions.log_reads import LogReads
from infra.eventsourcing.subscriptions.source import Source
from infra.postgres.errors import PASSING

AT_ONCE: Final = 200
"""Sources that are read by one statement."""

_log = structlog.get_logger("weir.subscriptions")


class Reads(Protocol):
    """How sources of a kind are read."""

    async def heads(self, sources: Sequence[Source]) -> Sequence[int]:
        """The last place of each."""

    async def news(self, sources: Sequence[Source]) -> tuple[Sequence[Sequence[FollowedEvent]], int]:
        """What has come behind the cursor of each; and how many events mean that there may be more."""


class StreamNews:
    """Streams: many at once."""

    def __init__(self, reads: LogReads) -> None:
        self._reads = reads

    async def heads(self, sources: Sequence[Source]) -> Sequence[int]:
        found = await self._reads.heads([source.stream_id for source in sources if source.stream_id])
        return [found[source.stream_id] for source in sources if source.stream_id]

    async def news(self, sources: Sequence[Source]) -> tuple[Sequence[Sequence[FollowedEvent]], int]:
        after = {source.stream_id: source.cursor or 0 for source in sources if source.stream_id}
        found, full = await self._reads.news(after)
        return [found.get(stream_id, ()) for stream_id in after], full


class LogNews:
    """The log, of which there is one."""

    def __init__(self, reads: LogReads) -> None:
        self._reads = reads

    async def heads(self, sources: Sequence[Source]) -> Sequence[int]:
        head = await self._reads.head()
        return [head for _ in sources]

    async def news(self, sources: Sequence[Source]) -> tuple[Sequence[Sequence[FollowedEvent]], int]:
        (source,) = sources
        events, full = await self._reads.log_news(source.cursor or 0)
        return [events], full


class NewsReader:
    """Nobody else moves the cursors of its sources. ``fence`` waits until all topics are listened to, if they can be.

    A source is read when it was rung for, and every ``poll_seconds`` in any case; after a read there are
    ``rest_seconds`` in which rings are gathered for the next.
    """

    def __init__(
        self, reads: Reads, fence: Callable[[], Awaitable[object]], *, poll_seconds: float, rest_seconds: float = 0.0
    ) -> None:
        self._reads = reads
        self._fence = fence
        self._poll_seconds = poll_seconds
        self._rest_seconds = rest_seconds
        self._sources: set[Source] = set()
        self._rung: dict[Source, None] = {}
        self._unfenced = False
        self._wake = asyncio.Event()
        self.reads = 0

    def add(self, source: Source) -> None:
        """To be called once its topic is listened to."""
        self._sources.add(source)
        self._unfenced = True
        self.ring(source)

    def drop(self, source: Source) -> None:
        """It is read no more; what is being read of it is offered to nobody."""
        self._sources.discard(source)
        self._rung.pop(source, None)

    def ring(self, source: Source) -> None:
        """There may be something new."""
        self._rung[source] = None
        self._wake.set()

    def ring_all(self) -> None:
        """Rings may have been missed; from behind the next fence on they are heard."""
        self._unfenced = True
        self._rung.update(dict.fromkeys(self._sources))
        self._wake.set()

    async def run(self) -> None:
        """Reads until cancelled, through any failure of Postgres."""
        pauses, now = Pauses(), asyncio.get_running_loop().time
        poll_at = now()
        while True:
            await happens(self._wake, max(0.0, poll_at - now()))
            self._wake.clear()
            if now() >= poll_at:
                self._rung.update(dict.fromkeys(self._sources))
                poll_at = now() + self._poll_seconds * random.uniform(0.8, 1.0)  # noqa: S311
            await self._attempt(pauses)
            await asyncio.sleep(self._rest_seconds)

    async def _attempt(self, pauses: Pauses) -> None:
        rung, self._rung = self._rung, {}
        try:
            await self._read([source for source in rung if source in self._sources])
            pauses.reset()
        except PASSING as error:
            _log.warning("what is new cannot be read", error=str(error))
            self._rung = {**{source: None for source in rung if source in self._sources}, **self._rung}
            self._wake.set()
            await asyncio.sleep(pauses.next())

    async def _read(self, sources: Sequence[Source]) -> None:
        if sources and self._unfenced:
            # What is stored before this is read, what is rung for later is heard: there is no gap between the two.
            self._unfenced = False
            await self._fence()
        for start in range(0, len(sources), AT_ONCE):
            batch = sources[start : start + AT_ONCE]
            new = [source for source in batch if source.cursor is None]
            known = [source for source in batch if source.cursor is not None]
            await self._begin(new)
            await self._go_on(known)

    async def _begin(self, sources: Sequence[Source]) -> None:
        if sources:
            self.reads += 1
            for source, head in zip(sources, await self._reads.heads(sources), strict=True):
                source.begin(head)

    async def _go_on(self, sources: Sequence[Source]) -> None:
        if not sources:
            return
        self.reads += 1
        found, full = await self._reads.news(sources)
        for source, events in zip(sources, found, strict=True):
            if source in self._sources:
                source.take(events)
                if len(events) >= full:
                    self.ring(source)
