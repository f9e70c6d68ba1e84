"""Turns on streams that several processes write to at once.

Of two processes that both always have a batch for the same hot stream on the way, one loses each time, and all that it
sent is decided again. So once a command has lost twice, its process queues for a turn before it decides anything more
on these streams: one lock in Postgres for all contested streams, first come, first served. A turn is advice. It makes
races rare; the expected versions still decide them, and whoever gets no turn in time goes on without.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final

from domain.kernel.unit_of_work import StreamRef
from infra.concurrency.waiting import happens
from infra.errors import Unavailable
from infra.eventsourcing.commands.metrics import Races
from infra.eventsourcing.commands.unit_of_work import Name, name_of
from infra.observability.origin import nobodys
from infra.postgres.pool import DRIVER_ERRORS, Connection, Database

CONTESTED_SECONDS: Final = 1.0
"""How long after a lost race its streams count as contested."""

TURN_SECONDS: Final = 0.02
"""How long a turn takes in more commands. It ends sooner, once all have been answered."""

PATIENCE_SECONDS: Final = 0.5
"""How long a process queues for its turn."""

LONGEST_SECONDS: Final = 1.0
"""How long a command waits for the next turn of its process, while the one before may still be going on."""

# A process that is paused in its turn must not keep it: the server ends its session.
_TAKE: Final = (
    "BEGIN; SELECT set_config('idle_in_transaction_session_timeout', '2s', true),"
    " pg_advisory_xact_lock(hashtextextended('weir:turn', 0))"
)
_AWAY: Final = (Unavailable, *DRIVER_ERRORS)


class HotStreamLock:
    """One process's turns. ``on_turn`` hears which streams are contested when one begins: others may have written."""

    def __init__(self, database: Database, races: Races, *, on_turn: Callable[[Collection[Name]], None]) -> None:
        self._database = database
        self._races = races
        self._on_turn = on_turn
        self._contested: dict[Name, float] = {}
        self._latest = 0.0
        self._connection: Connection | None = None
        self._taking: asyncio.Task[None] | None = None
        self._waiting = 0
        self._inside = 0
        self._begun = asyncio.Event()
        self._answered = asyncio.Event()

    def mark_contended(self, targets: Sequence[StreamRef]) -> None:
        """Another process writes to some of these streams too."""
        self._forget()
        self._latest = monotonic() + CONTESTED_SECONDS
        self._contested |= dict.fromkeys(map(name_of, targets), self._latest)

    def extend(self, name: Name) -> None:
        """Another process has written to the stream meanwhile; if it was contested, it still is."""
        if name in self._contested:
            self._contested[name] = self._latest = monotonic() + CONTESTED_SECONDS

    def wanted(self, targets: Sequence[StreamRef]) -> bool:
        """Whether a command on these streams should wait for a turn."""
        if not self._contested:
            return False
        now = monotonic()
        if self._latest < now:
            self._contested.clear()
        return any(self._contested.get(name_of(target), 0.0) > now for target in targets)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """While inside it is this process's turn, as far as others keep to it."""
        with suppress(TimeoutError):
            await self._begin()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._answered.set()

    async def close(self) -> None:
        """Ends the turn that there may be, and closes the connection."""
        try:
            if self._taking is not None:
                await asyncio.wait([self._taking])
        finally:
            if self._connection is not None:
                with suppress(*_AWAY):
                    await self._connection.close(timeout=PATIENCE_SECONDS)

    async def _begin(self) -> None:
        self._waiting += 1
        try:
            if self._taking is None:
                self._taking = asyncio.create_task(self._take_turns(), context=nobodys())
            async with asyncio.timeout(LONGEST_SECONDS):
                while not self._begun.is_set():
                    await self._begun.wait()
        finally:
            self._waiting -= 1

    def _forget(self) -> None:
        """Streams that nobody has lost a race on for a while."""
        now = monotonic()
        self._contested = {name: until for name, until in self._contested.items() if until > now}

    async def _take_turns(self) -> None:
        """One after the other, as long as somebody waits."""
        try:
            while self._waiting:
                await self._lock()
                try:
                    await self._let_in()
                finally:
                    await self._unlock()
        finally:
            self._taking = None

    async def _let_in(self) -> None:
        self._races.turns += 1
        self._forget()
        self._on_turn(self._contested.keys())
        self._answered.clear()
        self._begun.set()
        await happens(self._answered, TURN_SECONDS)
        self._begun.clear()
        while self._inside:
            self._answered.clear()
            await self._answered.wait()

    async def _lock(self) -> None:
        with suppress(*_AWAY):
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._database.connect()
            await self._connection.execute(_TAKE, timeout=PATIENCE_SECONDS)

    async def _unlock(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.execute("ROLLBACK", timeout=PATIENCE_SECONDS)
        except _AWAY:
            self._connection.terminate()
            self._connection = None
