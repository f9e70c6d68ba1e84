"""The look-out for a clock of Postgres that was set back: what is owed would wait for as long as it was set back by."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final

from infra.concurrency.periodic import repeating
from infra.eventsourcing.projections.rebuild import requests
from infra.host.retry_after import LONGEST_RETRY_AFTER
from infra.postgres.clock import MEASURED_SECONDS, PostgresClock, awake
from infra.postgres.due_work import DueWork
from infra.postgres.pool import Database
from infra.webhooks import delivery_log

SWEEP_SECONDS: Final = 60.0
LONGEST_WAIT: Final = 1.1 * LONGEST_RETRY_AFTER
"""What is put off for longer was put off by another clock."""

Hasten = Callable[[Database, float], Awaitable[None]]


class ClockWatch:
    """One process's part of it. A clock that is set back while it looks it notices at once, and then nothing is waited
    for. What was done before it began shows where something waits for longer than anything is put off.
    """

    def __init__(self, database: Database, works: Iterable[DueWork], *, clock: PostgresClock | None = None) -> None:
        self._database = database
        self._clock = clock or PostgresClock(database)
        # Deliveries before their subscribers, who find them due.
        self._hasten: list[Hasten] = [delivery_log.hasten, *(work.hasten for work in (*works, requests.WORK))]
        self._seen = 0
        self._sweep_at = 0.0

    def following(self) -> AbstractAsyncContextManager[None]:
        """Looks until the block ends."""
        return repeating("watch postgres's clock", self.look, MEASURED_SECONDS)

    async def look(self) -> None:
        """Raises :class:`~infra.errors.Unavailable`; the next look does what this one has not."""
        await self._clock.measure()
        set_back, now = self._clock.set_back, awake()
        if set_back == self._seen and now < self._sweep_at:
            return
        for hasten in self._hasten:
            await hasten(self._database, LONGEST_WAIT if set_back == self._seen else 0.0)
        self._seen, self._sweep_at = set_back, now + SWEEP_SECONDS
