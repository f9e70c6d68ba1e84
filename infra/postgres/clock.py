"""Postgres's clock as this process knows it: measured now and then, carried on by a clock that nobody sets in between.

What is due is due by Postgres's clock, and what is told to be good until then is. A moment that a process reckons for
that by a clock of its own would come too early or too late by as much as the two differ.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final

import structlog

from infra.concurrency.periodic import repeating
from infra.postgres.pool import Database

MEASURED_SECONDS: Final = 5.0
"""A clock that is set, or another server after a failover, is noticed after this."""
NOTABLE_SECONDS: Final = 2.0
"""A clock that is off by more than this from one measurement to the next was set."""

_AWAKE: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_log = structlog.get_logger("weir.clock")


def awake() -> float:
    """Seconds that pass whatever is done to the machine's clock, and while it sleeps where the system counts that."""
    return time.clock_gettime(_AWAKE)


class PostgresClock:
    """Tells Postgres's time, at the cost of a round trip every :data:`MEASURED_SECONDS`.

    ``wall`` is the machine's own clock. Where it was set, the machine may have slept, or been kept from running, for a
    time that no other clock of its has counted.
    """

    def __init__(
        self,
        database: Database,
        *,
        wall: Callable[[], float] = time.time,
        passing: Callable[[], float] = awake,
    ) -> None:
        self._database = database
        self._wall, self._passing = wall, passing
        self._own = self._epoch = wall() - passing()
        self._until = 0.0
        self._measuring = asyncio.Lock()
        self.set_back = 0
        """How often it was found to have been set back."""

    async def now(self) -> datetime:
        """The time, off by no more than half of the round trip that measured it.

        Raises :class:`~infra.errors.Unavailable`.
        """
        if not self._is_measured():
            async with self._measuring:
                if not self._is_measured():
                    await self.measure()
        return datetime.fromtimestamp(self.told(), UTC)

    async def measure(self) -> None:
        """Asks Postgres. Raises :class:`~infra.errors.Unavailable`."""
        epoch, took = await self._epoch_told()
        if took > NOTABLE_SECONDS:
            # The process may have stood still between the question and the answer, for as long as it likes.
            epoch, took = await self._epoch_told()
        before, self._epoch = self._epoch, epoch
        # What it was before the first time is no measurement.
        if self._until and abs(moved := epoch - before) > NOTABLE_SECONDS + took / 2:
            self.set_back += moved < 0
            _log.warning("the clock of postgres was set", seconds=round(moved, 1))
        now = self._passing()
        self._own = self._wall() - now
        self._until = now + MEASURED_SECONDS

    async def _epoch_told(self) -> tuple[float, float]:
        """What Postgres's clock said when the other stood at 0, and how long the answer was under way."""
        asked = self._passing()
        row = await self._database.fetchrow("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")
        answered = self._passing()
        assert row is not None  # noqa: S101 - it has no condition
        return row["now"] - (asked + answered) / 2, answered - asked

    def told(self) -> float:
        """The time in Unix seconds as it was measured last, however long ago; the machine's own before the first time.

        For what must be told without waiting, and while Postgres is away.
        """
        return self._epoch + self._passing()

    def following(self) -> AbstractAsyncContextManager[None]:
        """Measures until the block ends, so that what is told is never long out of date."""
        return repeating("follow postgres's clock", self.measure, MEASURED_SECONDS)

    def _is_measured(self) -> bool:
        return self._passing() < self._until and abs(self._wall() - self._passing() - self._own) < NOTABLE_SECONDS
