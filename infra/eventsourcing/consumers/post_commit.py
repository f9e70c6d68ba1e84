"""Work that follows a commit, the cache and the announcement, where neither can hold the consumer up."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from infra.eventsourcing.consumers.consumer import Consumer, Lease
from infra.eventsourcing.read_cache import CacheAway
from infra.postgres.errors import PASSING
from infra.redis.client import BROKEN

C = TypeVar("C")

MOST_WAITING: Final = 250
"""Events whose changes may wait to be told, per place. What does not fit is not remembered but found in the log."""

_AWAY: Final = (CacheAway, *PASSING, *BROKEN)
_log = structlog.get_logger("weir.trail")


class Followed(NamedTuple, Generic[C]):
    """A lease that was moved from one position to another, by how many events, and what that changed."""

    lease: Lease
    before: int
    upto: int
    events: int
    changes: C


class _Untold(Generic[C]):
    """What is to be told of a lease, from ``before`` on."""

    __slots__ = ("before", "changes", "events", "upto")

    def __init__(self, before: int, upto: int) -> None:
        self.before = before
        self.upto = upto
        self.events = 0
        self.changes: list[C] | None = []


class PostCommit(Generic[C]):
    """Follows the commits of one consumer, each place for itself: one that has much to tell holds up no other.

    ``cache_position`` of a lease moves only over what was told. What is committed while it tells is told together,
    next. Where something could not be told, the lease lags, and :meth:`catch_up` has it found out and told again.
    """

    def __init__(self, consumer: Consumer[C]) -> None:
        self._consumer = consumer
        self._untold: dict[Lease, _Untold[C]] = {}
        self._telling: dict[Lease, asyncio.Task[None]] = {}

    def add(self, batch: Sequence[Followed[C]]) -> None:
        """Remembers what is to be told, and begins to tell it."""
        for lease, before, upto, events, changes in batch:
            untold = self._untold.setdefault(lease, _Untold(before, upto))
            untold.upto = upto
            untold.events += events
            if untold.changes is not None:
                untold.changes = [*untold.changes, changes] if untold.events <= MOST_WAITING else None
            self._begin(lease)

    def catch_up(self, leases: Iterable[Lease]) -> None:
        """Sees to the leases that lag, unless it is telling of them anyway: also where the memory is another now."""
        for lease in leases:
            lags = lease.cache_position < lease.position or lease.era != self._consumer.era
            if lags and lease not in self._telling:
                self._untold[lease] = _Untold(lease.position, lease.position)
                self._begin(lease)

    async def drain(self, seconds: float) -> None:
        """Waits until all is told, but not long: what is left, the next owner finds."""
        if self._telling:
            await asyncio.wait(self._telling.values(), timeout=seconds)

    async def end(self) -> None:
        """Tells no more."""
        telling = list(self._telling.values())
        for task in telling:
            task.cancel()
        await asyncio.gather(*telling, return_exceptions=True)

    def _begin(self, lease: Lease) -> None:
        if lease not in self._telling:
            self._telling[lease] = asyncio.create_task(self._tell_all(lease))

    async def _tell_all(self, lease: Lease) -> None:
        try:
            while untold := self._untold.pop(lease, None):
                await self._tell(lease, untold)
        finally:
            del self._telling[lease]

    async def _tell(self, lease: Lease, untold: _Untold[C]) -> None:
        if lease.cache_position >= untold.upto and lease.era == self._consumer.era:
            return
        try:
            changes = untold.changes if lease.cache_position == untold.before else None
            await self._consumer.after_commit(lease, untold.upto, changes)
        except _AWAY as error:
            _log.debug("not told", consumer=lease.place.consumer, shard=lease.shard, error=str(error))
        else:
            lease.cache_position = untold.upto
