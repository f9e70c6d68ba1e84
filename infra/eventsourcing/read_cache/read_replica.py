"""A copy of Postgres that is read from as long as it is of the same history and hardly behind; else it is passed over.

Nothing that it says is kept: caches are filled from the primary alone. And nothing that goes wrong with it reaches
anybody: whoever asked it goes to the primary instead.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final

import asyncpg

from infra.concurrency.circuit_breaker import Breaker, Limits, Permit
from infra.errors import TookTooLong, Unavailable
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import log_of
from infra.postgres.errors import refuses_values
from infra.postgres.pool import Database
from infra.postgres.reader import Snapshot
from infra.postgres.standby import REPLAYED, REPLAYED_TIMELINE

TURN_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 0.75
"""How long all that is asked of it may take; then the primary is asked, with all the time that it always has."""
LOOK_SECONDS: Final = 1.0
MOST_BEHIND: Final = 1.0
"""What the primary had on disk so long ago, it must have. So what it shows is older by that and a look at most."""
REMEMBERED: Final = 120
"""Of so many seconds it is known how far the primary was, to say how far behind a replica is."""

_STANDING: Final = f"""
SELECT h.log_id, h.shards, h.history, {REPLAYED_TIMELINE} AS timeline, {REPLAYED} AS replayed, (
    SELECT count(*) FROM projections p JOIN unnest($1::text[], $2::integer[]) AS served (name, generation)
    ON p.name = served.name AND p.live_generation = served.generation) AS served
FROM log_head h"""  # noqa: S608 (our own words)


class Outcome(StrEnum):
    """What became of a read."""

    SERVED = "served"
    BEHIND = "behind"
    """It had not what was to be shown."""
    AWAY = "away"
    """It did not answer in time, or has not done so lately."""
    BUSY = "busy"
    """No turn was to be had in time."""
    HISTORY = "history"
    """It is a copy of another log, or of another history of ours."""


class PassedOver(Exception):
    """The replica does not serve this read: the primary is to be asked."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class Trail:
    """How far the primary was at moments of the last minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._now = clock
        self._marks: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)

    def note(self, flushed: int) -> None:
        """So far it is now."""
        now = self._now()
        if not self._marks or now - self._marks[-1][0] >= LOOK_SECONDS / 2:
            self._marks.append((now, flushed))

    def forget(self) -> None:
        """It was another server."""
        self._marks.clear()

    @property
    def due(self) -> int | None:
        """What a replica must have replayed; None as long as nobody knows."""
        latest = self._now() - MOST_BEHIND
        return next((flushed for at, flushed in reversed(self._marks) if at <= latest), None)

    def lag(self, replayed: int) -> float:
        """Seconds since the primary was where the replica is now; 0 if the replica has all that is known of."""
        missing = next((at for at, flushed in self._marks if flushed > replayed), None)
        return 0.0 if missing is None else self._now() - missing


class ReadReplica:
    """The replica as one process reads from it, ``at_once`` at a time. ``trail`` is told how far the primary is."""

    def __init__(
        self,
        database: Database,
        current: CurrentLog,
        *,
        at_once: int,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._turns = asyncio.Semaphore(at_once)
        self._database = database
        self._current = current
        self._breaker = Breaker(Limits(failures=1, rest=LOOK_SECONDS, most=8 * LOOK_SECONDS))
        self.trail = Trail(clock)
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.lag: float | None = None
        self.standing = Outcome.AWAY
        current.follow(lambda _: self.trail.forget())

    @asynccontextmanager
    async def snapshot(
        self, served: Mapping[str, int], planner: Mapping[str, str] | None = None
    ) -> AsyncIterator[Snapshot]:
        """One state of the replica, in which these generations are served. Raises PassedOver, also where a statement
        in the block fails; who finds that something is missing raises it, too.
        """
        try:
            async with self._judged(served, planner) as session:
                yield session
        except PassedOver as passed:
            self.outcomes[passed.outcome] += 1
            raise
        self.outcomes[Outcome.SERVED] += 1

    @asynccontextmanager
    async def _judged(self, served: Mapping[str, int], planner: Mapping[str, str] | None) -> AsyncIterator[Snapshot]:
        async with self._turn():
            with self._admitted() as permit:
                async with self._answering(permit, planner) as session:
                    await self._judge(session, served)
                    yield session

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """That there are too many of us says nothing of the replica."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise PassedOver(Outcome.BUSY) from None
        try:
            yield
        finally:
            self._turns.release()

    def _admitted(self) -> Permit:
        permit = self._breaker.admit()
        if permit is None:
            raise PassedOver(Outcome.AWAY)
        return permit

    @asynccontextmanager
    async def _answering(self, permit: Permit, planner: Mapping[str, str] | None) -> AsyncIterator[Snapshot]:
        """Whatever is wrong with the replica is no concern of who asked."""
        try:
            async with (
                asyncio.timeout(self._answer_seconds),
                self._database.snapshot(seconds=self._answer_seconds, planner=planner) as session,
            ):
                yield session
        except PassedOver:
            permit.succeeded()
            raise
        except (Unavailable, TookTooLong, TimeoutError):
            permit.failed()
            self.lag = None
            raise PassedOver(Outcome.AWAY) from None
        except asyncpg.PostgresError as error:
            permit.succeeded()
            if refuses_values(error):
                raise
            raise PassedOver(Outcome.BEHIND) from error  # it lacks a table, a column or a function: not replayed yet
        permit.succeeded()

    async def _judge(self, session: Snapshot, served: Mapping[str, int]) -> None:
        row = await session.fetchrow(_STANDING, list(served), list(served.values()))
        if row is None:
            raise PassedOver(Outcome.HISTORY)
        current = self._current
        if log_of(row, current.log.codec).on(row["timeline"]).history != current.history:
            self.lag = None
            raise PassedOver(Outcome.HISTORY)
        self.lag = self.trail.lag(row["replayed"])
        due = self.trail.due
        if due is None or row["replayed"] < due or row["served"] < len(served):
            raise PassedOver(Outcome.BEHIND)

    async def keep(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.0))  # noqa: S311

    async def look(self) -> None:
        """Sees how it stands, whether or not anybody reads."""
        try:
            async with self._judged({}, None):
                self.standing = Outcome.SERVED
        except PassedOver as passed:
            self.standing = passed.outcome

    async def report(self) -> Mapping[str, Any]:
        """How it stands, for who looks after it."""
        status = "ok" if self.standing is Outcome.SERVED else "degraded"
        lag = None if self.lag is None else round(self.lag, 3)
        return {"status": status, "reads": str(self.standing), "lag_seconds": lag}
