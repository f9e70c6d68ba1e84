"""Read your own writes: the wait until a read model has come as far as a consistency token asks."""

import asyncio
import heapq
from enum import Enum
from itertools import count
from typing import NamedTuple

from infra.eventsourcing.event_log import LAST


class ProjectionShard(NamedTuple):
    """What moves on by itself: one shard of one generation of a read model."""

    projection: str
    generation: int
    shard: int


class Sight(Enum):
    """How a position was seen to be reached."""

    TOLD = "told"
    """The consumer has told: it had refreshed the shared cache before, and what was older here is gone."""
    STORED = "stored"
    """Postgres says so: the caches may still be behind."""
    MOVED = "moved"
    """Not at all: another generation is served now, so ask again."""


class _Wait(NamedTuple):
    position: int
    turn: int
    seen: "asyncio.Future[Sight]"


class _Line:
    """Who waits for one part, the least demanding first. Who has given up is swept out once they are the majority."""

    __slots__ = ("_gone", "_turns", "_waits")

    def __init__(self) -> None:
        self._waits: list[_Wait] = []
        self._turns = count()
        # How many in the line have given up; briefly below zero when one was taken out before it could say so.
        self._gone = 0

    @property
    def empty(self) -> bool:
        return len(self._waits) == self._gone

    def join(self, position: int) -> "asyncio.Future[Sight]":
        seen: asyncio.Future[Sight] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waits, _Wait(position, next(self._turns), seen))
        return seen

    def wake(self, position: int, sight: Sight) -> None:
        while self._waits and self._waits[0].position <= position:
            seen = heapq.heappop(self._waits).seen
            if seen.done():
                self._gone -= 1
            else:
                seen.set_result(sight)

    def give_up(self) -> None:
        self._gone += 1
        if self._gone * 2 > len(self._waits):
            staying = [wait for wait in self._waits if not wait.seen.done()]
            self._gone -= len(self._waits) - len(staying)
            self._waits = staying
            heapq.heapify(self._waits)


class Visibility:
    """How far each part has come, as far as this process knows, and who waits for it to go further.

    Nothing here asks anybody: news comes in through :meth:`told` and :meth:`stored`.
    """

    def __init__(self) -> None:
        self._told: dict[ProjectionShard, int] = {}
        self._stored: dict[ProjectionShard, int] = {}
        self._lines: dict[ProjectionShard, _Line] = {}

    def position(self, part: ProjectionShard) -> int:
        """How far the part is known to be by what its consumer told; 0 if it told nothing yet."""
        return self._told.get(part, 0)

    def known(self, projection: str, generation: int) -> dict[int, int]:
        """How far its shards are known to have come, in whichever way."""
        parts = {part for part in (*self._told, *self._stored) if part[:2] == (projection, generation)}
        return {part.shard: max(self._told.get(part, 0), self._stored.get(part, 0)) for part in parts}

    @property
    def furthest(self) -> int:
        """The last position that is known of."""
        return max([*self._told.values(), *self._stored.values()], default=0)

    def doubt(self) -> None:
        """What was told may be undone: it is counted as stored, and so Postgres is asked whether it holds it still."""
        for part, position in self._told.items():
            self._stored[part] = max(position, self._stored.get(part, 0))
        self._told.clear()

    def forget(self) -> None:
        """Nothing that was known is true any more."""
        self._told.clear()
        self._stored.clear()

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return bool(self._lines)

    def told(self, part: ProjectionShard, position: int) -> None:
        """The consumer has refreshed the cache up to here."""
        if position > self._told.get(part, 0):
            self._told[part] = position
            self._wake(part, position, Sight.TOLD)

    def stored(self, part: ProjectionShard, position: int) -> None:
        """Postgres holds the read model up to here."""
        if position > self._stored.get(part, 0):
            self._stored[part] = position
            self._wake(part, position, Sight.STORED)

    def moved(self, projection: str, generation: int) -> None:
        """The generation is no longer served: forget it, and let who waits for it ask again."""
        for part in [part for part in self._lines if part[:2] == (projection, generation)]:
            self._wake(part, LAST, Sight.MOVED)
        for known in (self._told, self._stored):
            for part in [part for part in known if part[:2] == (projection, generation)]:
                del known[part]

    async def reach(self, part: ProjectionShard, position: int) -> Sight:
        """Waits until the part is at the position. The caller bounds the wait."""
        if self._told.get(part, 0) >= position:
            return Sight.TOLD
        if self._stored.get(part, 0) >= position:
            return Sight.STORED
        line = self._lines.setdefault(part, _Line())
        seen = line.join(position)
        try:
            return await seen
        finally:
            if seen.cancelled():
                line.give_up()
            self._close_if_empty(part, line)

    def _wake(self, part: ProjectionShard, position: int, sight: Sight) -> None:
        line = self._lines.get(part)
        if line is not None:
            line.wake(position, sight)
            self._close_if_empty(part, line)

    def _close_if_empty(self, part: ProjectionShard, line: _Line) -> None:
        if line.empty and self._lines.get(part) is line:
            del self._lines[part]
