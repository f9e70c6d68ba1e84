"""Postgres's clock as this process knows it: measured now and then, carried on by the monotonic clock in between.

What is due is due by Postgres's clock. A moment that a process reckons for that by a clock of its own would come too
early or too late by as much as the two differ.
"""

import asyncio
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from infra.postgres.pool import Database

MEASURED_SECONDS: Final = 30.0
"""A clock that is slewed, or another server after a failover, is noticed after this."""


class PostgresClock:
    """Tells Postgres's time, at the cost of a round trip every :data:`MEASURED_SECONDS`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._epoch: datetime | None = None
        self._until = 0.0
        self._measuring = asyncio.Lock()

    async def now(self) -> datetime:
        """The time, off by no more than half of the round trip that measured it.

        Raises :class:`~infra.errors.Unavailable`.
        """
        if (told := self._told()) is not None:
            return told
        async with self._measuring:
            return self._told() or await self._measured()

    def _told(self) -> datetime | None:
        now = monotonic()
        return None if self._epoch is None or now >= self._until else self._epoch + timedelta(seconds=now)

    async def _measured(self) -> datetime:
        asked = monotonic()
        row = await self._database.fetchrow("SELECT clock_timestamp() AS now")
        answered = monotonic()
        assert row is not None  # noqa: S101 - it has no condition
        self._epoch = row["now"] - timedelta(seconds=(asked + answered) / 2)
        self._until = answered + MEASURED_SECONDS
        return self._epoch + timedelta(seconds=answered)
