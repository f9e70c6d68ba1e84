"""What follows a commit: the cache and the announcement, behind the consumer's back, so that neither can hold it up."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar

import asyncpg
import structlog

from infra.cache import CacheAway
from infra.errors import Unavailable
from infra.streams import BROKEN
from projections.runtime.consumer import Consumer, Lease

C = TypeVar("C")

MOST_WAITING: Final = 1_000
"""Commits that may wait to be told, per shard. What does not fit is not remembered but found again in the log."""

_AWAY: Final = (CacheAway, Unavailable, asyncpg.PostgresError, *BROKEN)
_log = structlog.get_logger("weir.trail")


class Followed(NamedTuple, Generic[C]):
    """A lease that was moved from one position to another, and what that changed."""

    lease: Lease
    before: int
    upto: int
    changes: C


class _Untold(Generic[C]):
    """What is to be told of a lease, from ``before`` on."""

    __slots__ = ("before", "changes", "upto")

    def __init__(self, before: int, upto: int) -> None:
        self.before = before
        self.upto = upto
        self.changes: list[C] | None = []


class Trail(Generic[C]):
    """Follows the commits of one consumer. ``refreshed`` of a lease moves only over what was told.

    What is committed while it tells is told together, next. Where something could not be told, the lease lags, and
    :meth:`catch_up` has it found out and told again.
    """

    def __init__(self) -> None:
        self._untold: dict[Lease, _Untold[C]] = {}
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, batch: Sequence[Followed[C]]) -> None:
        """Remembers what is to be told."""
        for lease, before, upto, changes in batch:
            untold = self._untold.setdefault(lease, _Untold(before, upto))
            untold.upto = upto
            if untold.changes is not None:
                untold.changes = [*untold.changes, changes] if len(untold.changes) < MOST_WAITING else None
        self._stir()

    def catch_up(self, leases: Iterable[Lease]) -> None:
        """Sees to the leases that lag, unless it is telling of them anyway."""
        if self._idle.is_set():
            for lease in leases:
                if lease.refreshed < lease.position:
                    self._untold[lease] = _Untold(lease.position, lease.position)
            if self._untold:
                self._stir()

    async def run(self, consumer: Callable[[], Consumer[C]]) -> None:
        """Tells until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            untold, self._untold = self._untold, {}
            await asyncio.gather(*(self._tell(consumer(), lease, each) for lease, each in untold.items()))
            if not self._untold:
                self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Waits until all is told, but not long: what is left, the next owner finds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def _stir(self) -> None:
        self._idle.clear()
        self._news.set()

    async def _tell(self, consumer: Consumer[C], lease: Lease, untold: _Untold[C]) -> None:
        if lease.refreshed >= untold.upto or consumer.generation != lease.place.generation:
            return
        try:
            await consumer.follow(lease, untold.upto, untold.changes if lease.refreshed == untold.before else None)
        except _AWAY as error:
            _log.debug("not told", consumer=consumer.name, shard=lease.shard, error=str(error))
        else:
            lease.refreshed = untold.upto
