"""What Postgres says once a second: which history it holds, which generations are served and how far they are, and so
whether news has reached us."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import structlog

from infra.concurrency.waiting import happens
from infra.errors import OutcomeUnknown, Unavailable
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, begin_history, identify
from infra.eventsourcing.read_cache.visibility import ProjectionShard, Visibility
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.postgres.standby import FLUSHED
from infra.redis.push_channel import Channel

INTERVAL: Final = 1.0
HURRIED: Final = 0.05
"""Between two looks while somebody waits and announcements do not reach us. All who wait share them."""

CHECK_SECONDS: Final = 2.0

# A generation that was laid down over a log with events in it and never built is empty, and served to nobody.
_STATE: Final = (
    "SELECT p.name, p.live_generation, c.shard, c.position, c.refreshed, c.refreshed_era, h.head, "  # noqa: S608
    f"pg_postmaster_start_time() AS started, {FLUSHED} AS flushed "
    "FROM log_position() AS h (head), projections p "
    "LEFT JOIN checkpoints c ON c.consumer = p.name AND c.generation = p.live_generation "
    "WHERE NOT EXISTS (SELECT FROM generations g "
    "WHERE g.projection = p.name AND g.generation = p.live_generation AND g.finished_at IS NULL)"
)


_log = structlog.get_logger("weir.cache")


class _Standing(NamedTuple):
    """How far a part is, how much of that has been told of, and in which memory: None where nobody says."""

    position: int
    cache_position: int
    era: str | None


class Watch:
    """Compares what was announced with what is committed, so that lost news is noticed and not just hoped against.

    ``generations`` says which one of each read model is served. A projection is ``late`` while something committed a
    look ago has not been announced: its consumer has died or cannot reach Redis, so the caches may hold older rows,
    and reads go past them. So they do where its consumers keep another memory than the one that we read from: Redis has
    two masters then, and what lies in ours nobody refreshes. ``era_of`` names the memory of which a server is a part
    by its run. ``current`` is told at each look which log Postgres holds: it may be another, or of another history, and
    then :meth:`forget` is due. ``written`` is told how far the server's own log is on disk.
    """

    def __init__(
        self,
        database: Database,
        visibility: Visibility,
        *,
        distrust: Callable[[str], None],
        current: CurrentLog,
        era_of: Callable[[str], str],
        written: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._written = written
        self._database = database
        self._era_of = era_of
        self._visibility = visibility
        self._distrust = distrust
        self._current = current
        self._forgotten = 0
        self._committed: dict[ProjectionShard, int] = {}
        self._eras: dict[str, frozenset[str]] = {}
        self._judged_at = 0.0
        self._started: datetime | None = None
        self._hurry = asyncio.Event()
        self._looked = asyncio.Event()
        self._looking = asyncio.Lock()
        self.generations: dict[str, int] = {}
        self.parts: frozenset[ProjectionShard] = frozenset()
        self.late: frozenset[str] = frozenset()

    def kept_in(self, projection: str, era: str) -> bool:
        """Whether its consumers refresh the documents of that memory, as far as is known."""
        return self._eras.get(projection, frozenset()) <= {era}

    def hurry(self) -> None:
        """Look now rather than in a second."""
        self._hurry.set()

    def forget(self) -> None:
        """What was seen and told is of another history, and so is what a look that is under way may come to see."""
        self._forgotten += 1
        self._visibility.forget()
        self._committed.clear()
        for name in self.generations:
            self._distrust(name)
        self.hurry()

    async def keep(self, channel: Channel) -> None:
        """Looks again and again until cancelled."""
        while True:
            self._hurry.clear()
            try:
                await self.look(channel)
            except PASSING as error:
                # There is no way past the caches now: what they hold is better than nothing.
                self.late = frozenset()
                _log.warning("read models cannot be watched", error=str(error))
            await self._pause(channel)

    def interval(self, channel: Channel) -> float:
        """Seconds until the next look. That a channel is there is not enough: who is told nothing of what stands in
        Postgres may as well be deaf."""
        return HURRIED if self._visibility.waiting and (self.late or not channel.up) else INTERVAL

    async def _pause(self, channel: Channel) -> None:
        interval = self.interval(channel)
        hurried = await happens(self._hurry, interval * random.uniform(0.8, 1.0))  # noqa: S311
        if hurried and interval == HURRIED:  # everyone who waits hurries us; one look after the other is fast enough
            await asyncio.sleep(HURRIED)

    async def look(self, channel: Channel) -> None:
        """Reads the state once and draws the conclusions. Raises Unavailable."""
        async with self._looking:  # in turn, or an older state could come in last
            began, furthest = self._forgotten, self._visibility.furthest
            log, rows = await self._state()
            if began != self._forgotten:
                return  # another history has begun meanwhile, and nobody knows of which this is
            if rows and rows[0]["head"] < furthest:
                # The log itself ends before what was told of: it was restored, and positions mean other events now.
                # What Redis holds under its names tells of lost events: the next look finds others, and forgets all.
                _log.warning("the log has gone back", head=rows[0]["head"], told=furthest)
                await self._begin_history(log)
                self.hurry()
                return
            for row in rows[:1]:
                self._written(row["flushed"])
            self._notice_restart(rows)
            parts = self._served(rows)
            heard = await channel.fence()
            if began == self._forgotten:
                self._conclude(parts, self._era_of(channel.run) if heard else None)

    def _notice_restart(self, rows: list[asyncpg.Record]) -> None:
        """A server that has crashed has lost the commits that did not wait for the disk, and with them what was told.

        A process that has begun since knows nothing of that: it takes the old rows for true, and brings them to Redis.
        """
        for row in rows[:1]:
            if self._started not in (None, row["started"]):
                _log.warning("Postgres was started anew", started=str(row["started"]))
                self._visibility.doubt()
            self._started = row["started"]

    async def _begin_history(self, log: EventLog) -> None:
        try:
            await begin_history(self._database, log)
        except OutcomeUnknown as error:
            raise Unavailable("it is not known whether another history has begun") from error

    async def _state(self) -> tuple[EventLog, list[asyncpg.Record]]:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                async with self._database.acquire() as session:
                    log = await identify(session, self._current.log.codec)
                self._current.found(log)
                return log, await self._database.fetch(_STATE)
        except TimeoutError as error:
            raise Unavailable("Postgres does not answer") from error

    def _served(self, rows: list[asyncpg.Record]) -> dict[ProjectionShard, _Standing]:
        """Serves the generations that are to be served; answers how far their parts are, and what was told of it."""
        for name, generation in {(row["name"], row["live_generation"]) for row in rows}:
            self._serve(name, generation)
        parts = {ProjectionShard(*row[:3]): _Standing(*row[3:6]) for row in rows if row[2] is not None}
        self.parts = frozenset(parts)
        self._eras = {
            name: frozenset(each.era for part, each in parts.items() if part.projection == name and each.era)
            for name in self.generations
        }
        return parts

    def _conclude(self, parts: dict[ProjectionShard, _Standing], heard: str | None) -> None:
        """``heard``: the memory of which all has been heard that was announced before the state was read, if any."""
        if heard is not None:
            self._compare(parts, heard)
        else:
            for part, standing in parts.items():
                self._visibility.stored(part, standing.position)
        self._looked.set()

    async def ready(self, seconds: float) -> bool:
        """Waits for the first look; False if it has not succeeded in time."""
        return await happens(self._looked, seconds)

    def _serve(self, name: str, generation: int) -> None:
        before = self.generations.get(name)
        if before != generation:
            self.generations[name] = generation
            self._distrust(name)
            if before is not None:
                self._visibility.moved(name, before)

    def _compare(self, parts: dict[ProjectionShard, _Standing], heard: str) -> None:
        """After a fence: whatever consumers had announced when Postgres was asked has been heard by now."""
        for part, (_, cache_position, era) in parts.items():
            if cache_position > self._visibility.position(part) and era in (None, heard):
                # Told before we listened, or lost on the way. Redis is up to date, what we hold may not be.
                self._distrust(part.projection)
                self._visibility.told(part, cache_position)
        self._judge(parts)
        for part, standing in parts.items():
            if part.projection in self.late:
                self._visibility.stored(part, standing.position)

    def _judge(self, parts: dict[ProjectionShard, _Standing]) -> None:
        """Who is late. What was committed a moment ago, as the last look of hurried ones saw it, may be on its way."""
        now = asyncio.get_running_loop().time()
        if now - self._judged_at < INTERVAL / 2:
            return
        told = self._visibility.position
        self.late = frozenset(part.projection for part, due in self._committed.items() if due > told(part))
        for projection in self.late:
            self._distrust(projection)
        self._committed, self._judged_at = {part: standing.position for part, standing in parts.items()}, now
