"""A subscription: what one follower has yet to get of a source, first out of the past and then as it comes."""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum

import structlog

from infra.concurrency.backoff import Pauses
from infra.concurrency.flag import Flag
from infra.eventsourcing.configs import SubscriptionConfig
from infra.eventsourcing.subscriptions.followed_event import FollowedEvent
from infra.eventsourcing.subscriptions.log_reads import EVERYTHING, LogReads, Past, Wanted
from infra.eventsourcing.subscriptions.source import Source
from infra.postgres.errors import PASSING

_log = structlog.get_logger("weir.subscriptions")


class Reason(StrEnum):
    """Why a subscription has ended."""

    TOO_SLOW = "too-slow"
    """More waits for the follower than is kept for one."""
    OTHER_HISTORY = "other-history"
    """The log was put back, or failed over: what was told may be gone."""
    UNREADABLE = "unreadable"
    """Only a newer release knows what has happened."""
    CLOSED = "closed"
    """The process ends."""


class Ended(Exception):
    """The subscription has ended, and why. Whoever subscribes again behind its ``place`` has missed nothing."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def nobody_waits() -> None:
    return None


class Subscription:
    """One follower. ``place`` is the last that it was given, or that did not concern it.

    While it is behind the source it reads by itself, as fast as it takes what it gets, and nothing is kept for it. Once
    it has come to where the source is, what comes is put into its queue. The queue is bounded, and a follower for
    which there is no more room is ended: nobody waits for it.
    """

    def __init__(self, source: Source, reads: LogReads, after: int, wanted: Wanted, config: SubscriptionConfig) -> None:
        self._source = source
        self._reads = reads
        self._wanted = wanted
        self._wants_all = wanted == EVERYTHING
        self._config = config
        self._live = False
        self._queue: list[FollowedEvent] = []
        self._bytes = 0
        self._seen = 0
        self._wake = Flag()
        self._pauses = Pauses()
        self.on_news: Callable[[], object] = nobody_waits
        self.ended: Reason | None = None
        self.place = after

    async def next(self, seconds: float | None = None) -> Sequence[FollowedEvent]:
        """What comes next, in order; nothing if nothing comes in so many seconds. For one caller at a time.

        Whoever is cancelled in here has lost nothing. Raises :class:`Ended`.
        """
        try:
            async with asyncio.timeout(seconds):
                while not (events := await self._look()):
                    pass
                return events
        except TimeoutError:
            return self._take()

    def offer(self, events: Sequence[FollowedEvent]) -> None:
        """What has come next in the source."""
        if not self._live or self.ended:
            return
        fresh = self._fresh(events)
        size = sum(event.size for event in fresh)
        if self._queue and not self._has_room(len(fresh), size):
            self.end(Reason.TOO_SLOW)
            return
        self._seen = events[-1].place
        self._queue += fresh
        self._bytes += size
        if fresh:
            self._ring()

    def hand_over(self, take: Callable[[FollowedEvent], bool]) -> bool:
        """Gives what has come, one by one, as long as it is taken; ``take`` must not wait. Answers whether nothing is
        left, so that there will be news of what comes next; else :meth:`next` has the rest, or why there is none.
        """
        if self.ended or not self._live:
            return False
        while self._queue and take(self._queue[0]):
            taken = self._queue.pop(0)
            self._bytes -= taken.size
            self.place = taken.place
        if self._queue:
            return False
        self.place = max(self.place, self._seen)
        return True

    def end(self, reason: Reason) -> None:
        """The follower gets nothing more but this reason."""
        self.ended = self.ended or reason
        self._queue, self._bytes = [], 0
        self._ring()

    def _ring(self) -> None:
        """Who stumbles over its news stumbles alone: it is offered to the others, too, and waits in the queue here."""
        self._wake.set()
        try:
            self.on_news()
        except Exception:
            _log.exception("a follower stumbled over what has come")

    def _fresh(self, events: Sequence[FollowedEvent]) -> Sequence[FollowedEvent]:
        if self._wants_all and events[0].place > self.place:
            return events
        return [event for event in events if event.place > self.place and self._wanted.passes(event)]

    def _has_room(self, events: int, size: int) -> bool:
        config = self._config
        return len(self._queue) + events <= config.most_events and self._bytes + size <= config.most_bytes

    async def _look(self) -> Sequence[FollowedEvent]:
        if self.ended:
            raise Ended(self.ended)
        if not self._live:
            return await self._catch_up()
        if not self._queue:
            await self._wake.wait()
        self._wake.clear()
        return self._take()

    def _take(self) -> Sequence[FollowedEvent]:
        taken, self._queue, self._bytes = self._queue, [], 0
        self.place = max(self.place, self._seen)
        return taken

    async def _catch_up(self) -> Sequence[FollowedEvent]:
        """A page of the past; nothing where there is none left, or it could not be read yet."""
        await self._source.begun.wait()
        upto = self._source.cursor
        if upto is None or self.place >= upto:
            # Nothing is waited for since the cursor was looked at: what comes behind it is offered to this one, too.
            self._live = True
            return ()
        try:
            page = await self._past(upto)
        except PASSING:
            await asyncio.sleep(self._pauses.next())
            return ()
        self._pauses.reset()
        self.place = page.upto
        return page.events

    async def _past(self, upto: int) -> Past:
        if self._source.stream_id is None:
            return await self._reads.log_past(self.place, upto, self._wanted)
        return await self._reads.past(self._source.stream_id, self.place, upto)
