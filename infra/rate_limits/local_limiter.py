"""Counting inside one process, at the price of a dictionary, and settling what was counted between the processes.

A request is never held up to be counted. Each process keeps the whole rate by itself; twice a second it tells Redis
what it has seen and hears what all have seen together. Until then a client that reaches several processes may get the
quota from each; from then on all refuse. With Redis away each process goes on alone.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from time import monotonic
from typing import Final, Protocol

from infra.concurrency.cancellation import cancel_and_wait
from infra.rate_limits.gcra import Rate, Spending, Standing

SETTLE_SECONDS: Final = 0.5
MOST_SUBJECTS: Final = 20_000
"""Whom one meter keeps in mind. Beyond that those who owe nothing go, then those who came first."""

MOST_SETTLED: Final = 500
"""How many subjects of one meter are settled in one turn: the loop has other things to do."""


class Meter:
    """One policy's debts in this process, by subject."""

    def __init__(
        self, policy: str, rate: Rate, *, most: int = MOST_SUBJECTS, clock: Callable[[], float] = monotonic
    ) -> None:
        self.policy = policy
        self.rate = rate
        self._most = most
        self._clock = clock
        self._interval = rate.interval
        self._clear_at: dict[str, float] = {}
        self._spent: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._clear_at)

    def stands(self, subject: str) -> Standing:
        """How the subject stands if it asks for one more."""
        debt = self._debt(subject, self._clock())
        return Standing(self.rate, debt, self.rate.fits(debt + self._interval))

    def take(self, subject: str) -> Standing:
        """Count one request of ``subject``, unless that would exceed the rate. Every request comes through here."""
        rate, now = self.rate, self._clock()
        clear_at = self._clear_at.get(subject, 0.0)
        debt = clear_at - now if clear_at > now else 0.0
        wanted = debt + self._interval
        if not rate.fits(wanted):
            return Standing(rate, debt, allowed=False)
        if clear_at:
            self._clear_at[subject] = now + wanted
        else:
            self._owe(subject, now, wanted)
        self._spent[subject] = self._spent.get(subject, 0) + 1
        return Standing(rate, wanted)

    def give_back(self, subject: str) -> None:
        """A request that was counted and should not have been."""
        now = self._clock()
        self._owe(subject, now, max(0.0, self._debt(subject, now) - self._interval))
        self._spent[subject] = self._spent.get(subject, 0) - 1

    def _debt(self, subject: str, now: float) -> float:
        return max(0.0, self._clear_at.get(subject, now) - now)

    def _owe(self, subject: str, now: float, debt: float) -> None:
        if len(self._clear_at) >= self._most and subject not in self._clear_at:
            self._forget(now)
        self._clear_at[subject] = now + debt

    def _forget(self, now: float) -> None:
        """Makes room."""
        owing = [(subject, clear_at) for subject, clear_at in self._clear_at.items() if clear_at > now]
        self._clear_at = dict(owing[-self._most // 2 :])
        self._spent = {subject: spent for subject, spent in self._spent.items() if subject in self._clear_at}

    def spent(self) -> list[Spending]:
        """What has not been settled, of ``MOST_SETTLED`` subjects at most. Each must come back through ``settled``."""
        some = list(islice(self._spent.items(), MOST_SETTLED))
        for subject, _ in some:
            del self._spent[subject]
        return [Spending(self.policy, subject, self.rate, cost) for subject, cost in some if cost]

    def settled(self, spending: Spending, debt: float | None) -> None:
        """``debt`` is what the subject owes to all processes together; None if it could not be told, nor counted."""
        subject, now = spending.subject, self._clock()
        since = self._spent.get(subject, 0)
        if debt is not None:
            common = min(debt + since * self._interval, self.rate.seconds)
            self._owe(subject, now, max(self._debt(subject, now), common))
        elif subject in self._clear_at:
            self._spent[subject] = since + spending.cost


class Ledger(Protocol):
    """Where all processes count together: :class:`infra.rate_limits.redis_limiter.Throttle`."""

    async def settle(self, spendings: Sequence[Spending]) -> Sequence[float | None]:
        """Count what has happened already; what each owes to all together, None where that cannot be told."""


class Settlement:
    """Settles the meters of one process with the others, again and again."""

    def __init__(self, ledger: Ledger, meters: Sequence[Meter]) -> None:
        self._ledger = ledger
        self._meters = meters

    async def settle(self) -> None:
        """Once."""
        for meter in self._meters:
            if spendings := meter.spent():
                debts = await self._ledger.settle(spendings)
                for spending, debt in zip(spendings, debts, strict=True):
                    meter.settled(spending, debt)

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            await self.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Settles while inside, and a last time on the way out."""
        keeper = asyncio.create_task(self.keep())
        try:
            yield
        finally:
            await cancel_and_wait(keeper)
            await self.settle()
