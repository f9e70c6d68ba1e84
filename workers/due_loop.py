"""The claim loop of due work: one for each kind, with slots of its own, so that no kind ever waits for another.

::

    wake, or the next due time, or a poll ──▶ claim as many as slots are free ──▶ carry out ──▶ settle
                 ▲                                                                    │
                 └───────────────── a slot is free ◀──────────────────────────────────┘

It needs Postgres alone. A wake-up saves the wait until the next look, and is never needed.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.waiting import happens
from infra.observability import tracing
from infra.observability.origin import begin
from infra.postgres.due_work import Claimed, DueWork
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from workers.clock_watch import ClockWatch

C = TypeVar("C", bound=Claimed)

POLL_SECONDS: Final = 1.0
"""The longest time between two looks; a shorter one where something becomes due before that."""
SHORTEST_REST: Final = 0.01
AWAY_SECONDS: Final = 0.5

_log = structlog.get_logger("weir.due_work")


class Kind(Protocol[C]):
    """A kind of due work: its table, how many pieces are under way at once, and what is to be done with one."""

    @property
    def work(self) -> DueWork: ...

    @property
    def at_once(self) -> int: ...

    async def claim(self, limit: int) -> Sequence[C]:
        """Takes pieces that are due, at most so many."""

    async def run(self, claimed: C, since: float) -> object:
        """Does the work and settles it. ``since`` is the event loop's time from before the claim: the lease began then
        or later, so a bound that is reckoned from it ends before the lease does.
        """


class DueLoop(Generic[C]):
    """Claims and carries out one kind of due work. One per kind and process."""

    def __init__(self, name: str, kind: Kind[C], database: Database) -> None:
        self._name = name
        self._kind = kind
        self._database = database
        self._woken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def work(self) -> DueWork:
        """Its table."""
        return self._kind.work

    def wake(self) -> None:
        """Has the loop look at once; to be called where something has become due."""
        self._woken.set()

    async def run(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Works until ``stop``, then claims no more and gives what is under way so many seconds to end."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self.wake())
        try:
            while not stop.is_set():
                await self._turn(stopping)
            if self._running:
                await asyncio.wait(self._running, timeout=drain_seconds)
        finally:
            # What is cut off here stays leased, and is another worker's when its lease is over.
            await cancel_and_wait(stopping, *self._running)

    async def _turn(self, stopping: "asyncio.Task[Any]") -> None:
        """Fills the free slots; where more are free than work is due, rests until that changes."""
        free = self._kind.at_once - len(self._running)
        if not free:
            await asyncio.wait({*self._running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return
        self._woken.clear()
        since = asyncio.get_running_loop().time()
        try:
            claimed = await self._kind.claim(free)
            self._start(claimed, since)
            if len(claimed) < free:
                await self._rest(await self._kind.work.next_due(self._database))
        except Exception as error:  # whatever it is, the next turn must come: work stays owed
            _log.warning("due work cannot be claimed", work=self._name, error=type(error).__name__)
            await self._rest(AWAY_SECONDS)

    def _start(self, claimed: Sequence[C], since: float) -> None:
        for each in claimed:
            task = asyncio.create_task(self._carried_out(each, since), name=self._name)
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _rest(self, seconds: float | None) -> None:
        """Until somebody wakes the loop, the next piece becomes due, or the poll."""
        poll = POLL_SECONDS * random.uniform(0.5, 1)  # noqa: S311
        await happens(self._woken, poll if seconds is None else min(poll, max(seconds, SHORTEST_REST)))

    async def _carried_out(self, claimed: C, since: float) -> None:
        """One piece. What a kind does not see to itself puts the work off: it stays owed, and stops no other."""
        begin(claimed.cause)
        try:
            with tracing.span(f"due {self._name}", kind=tracing.SpanKind.CONSUMER, parent=claimed.cause.traceparent):
                await self._kind.run(claimed, since)
        except Exception as error:
            if isinstance(error, PASSING):
                _log.warning("due work put off", work=self._name, error=type(error).__name__)
            else:
                _log.exception("due work failed", work=self._name)
            with suppress(*PASSING):  # then its lease runs out; what was stored after all, the fence keeps
                await self._kind.work.put_off(self._database, claimed, type(error).__name__)


async def run_due_work(
    database: Database, loops: Iterable[DueLoop[Any]], stop: asyncio.Event, drain_seconds: float
) -> None:
    """Does the due work of all kinds until ``stop``, then finishes what it has begun."""
    loops = list(loops)
    watch = ClockWatch(database, [loop.work for loop in loops])
    async with watch.following(), asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop.run(stop, drain_seconds))
