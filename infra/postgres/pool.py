"""Postgres, straight through the driver. JSON columns are bytes in both directions, so that nothing is parsed twice.

There are two ways in, because a line that breaks means two things::

    read    acquire, snapshot, fetch, fetchrow   nothing was stored ─▶ Unavailable
    write   write                                one transaction: until its COMMIT is sent ─▶ Unavailable
            execute, returning, returning_row    one statement         \\ sent, and no answer ─▶ OutcomeUnknown
            session                              several commits       /

What a server refuses is :class:`~infra.errors.Unavailable` either way. A connection that is of no more use is dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, Final, TypeAlias

import asyncpg

from infra.concurrency.cancellation import take_note
from infra.errors import TookTooLong, Unavailable
from infra.postgres.connect import CONNECT_SECONDS, Connection, Connector, connect, is_failure, prepare
from infra.postgres.connection import DRIVER_ERRORS, Pooled, answering, drop, roll_back
from infra.postgres.pool_config import COMMAND_SECONDS, PoolConfig, PoolUse
from infra.postgres.reader import Reader, Reading, Snapshot

__all__ = ["CONNECT_SECONDS", "DRIVER_ERRORS", "Connection", "Database", "Pooled", "Reader", "connect", "prepare"]

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"
"""True on a standby, too."""
_ONLY_READ: Final = {"transaction_read_only": "on"}


async def _keep_session(_connection: Any) -> None:
    """Instead of the pool's reset query: our statements leave no session state, so the round trip buys nothing."""


class Database:
    """The pool of one process, opened lazily: a process starts, and says so in its health, while Postgres is away."""

    def __init__(self, config: PoolConfig) -> None:
        self._pgbouncer = config.pgbouncer
        self._standby = config.standby
        self._connector = Connector(config.url, pgbouncer=config.pgbouncer, standby=config.standby)
        self._pool: Pool = asyncpg.create_pool(
            connect=self._connector,
            min_size=0,
            max_size=config.size,
            reset=_keep_session,
            command_timeout=COMMAND_SECONDS,
            server_settings=config.bounds,
        )
        # To wait for a free connection and to open one have bounds of their own: several servers may have to be tried.
        self._free = asyncio.Semaphore(config.size)
        self._size = config.size
        self._held = self._waiting = self._refused = 0
        self._opened = False
        self._opening = asyncio.Lock()

    @property
    def use(self) -> PoolUse:
        """How it is used at this moment."""
        idle = self._pool.get_idle_size() if self._opened else 0
        return PoolUse(self._held, idle, self._size, self._waiting, self._refused)

    def follow_connections(self, told: Callable[[Connection], Awaitable[None]]) -> None:
        """Has ``told`` shown each new connection, before anything else is asked over it.

        What a pooler says there is about another connection of its own: behind one, whoever wants to know must ask.
        """
        if not self._pgbouncer:
            self._connector.on_opened = told

    async def connect(self) -> Connection:
        """A dedicated connection beside the pool; the caller closes it. Raises Unavailable."""
        return await self._connector()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Reader]:
        """A connection to read on, for a few statements.

        Raises :class:`~infra.errors.Unavailable` when none is free in time or the server goes away.
        """
        async with (
            self._lent(writes=False) as connection,
            # A pooler may change its server from one transaction to the next: behind it each read is one, and looks.
            connection.transaction() if self._pgbouncer else nullcontext(),
        ):
            await self._look(connection)
            yield Reading(connection)

    @asynccontextmanager
    async def snapshot(self, *, seconds: float, planner: Mapping[str, str] | None = None) -> AsyncIterator[Snapshot]:
        """A transaction to read on: one and the same state for all its statements, each of at most so many seconds.

        ``planner`` are settings of the planner, for this transaction. Raises :class:`~infra.errors.Unavailable` as
        :meth:`acquire` does, and :class:`~infra.errors.TookTooLong` for a statement that was ended.
        """
        async with self._lent(writes=False) as connection:
            try:
                async with _in_time(connection):
                    await self._look(connection)  # while it is not read-only by our own will
                    snapshot = Snapshot(Reading(connection))
                    await snapshot.plan({**_ONLY_READ, "statement_timeout": f"{seconds * 1000:.0f}", **(planner or {})})
                    yield snapshot
            except asyncpg.QueryCanceledError as error:
                raise TookTooLong("a statement was ended, as its time was over") from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Pooled]:
        """A transaction: committed at the end of the block, rolled back where that fails.

        Raises :class:`~infra.errors.Unavailable` as long as nothing can have been committed, and
        :class:`~infra.errors.OutcomeUnknown` when the answer to the commit is lost.
        """
        async with self._lent(writes=False) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await self._look(connection)
                yield connection
            except BaseException:
                await roll_back(connection, transaction)
                raise
            # From here on the failure of the line says nothing about what is stored.
            with answering(connection, writes=True):
                await transaction.commit()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Pooled]:
        """A connection for statements that commit one by one, or in transactions of the caller's.

        Raises :class:`~infra.errors.Unavailable`, and :class:`~infra.errors.OutcomeUnknown` where the last statement
        may have been carried out.
        """
        async with self._lent(writes=True) as connection:
            yield connection

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of one statement that reads."""
        async with self.acquire() as connection:
            return await connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> asyncpg.Record | None:
        """The first row of one statement that reads, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Carries out one statement that writes; answers its command tag."""
        async with self.session() as connection:
            return await connection.execute(statement, *arguments)

    async def returning(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Carries out one statement that writes; answers all rows that it returns."""
        async with self.session() as connection:
            return await connection.fetch(statement, *arguments)

    async def returning_row(self, statement: str, *arguments: Any) -> asyncpg.Record | None:
        """Carries out one statement that writes; answers the first row that it returns, or None."""
        async with self.session() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def check(self) -> None:
        """Raises :class:`~infra.errors.Unavailable` unless there is a server that can be written to."""
        async with self._lent(writes=False) as connection:
            await _insist(connection)

    async def close(self) -> None:
        """Gives running statements a few seconds, then closes every connection."""
        if self._opened:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except DRIVER_ERRORS:
                self._pool.terminate()

    async def _look(self, connection: Pooled) -> None:
        if self._pgbouncer and not self._standby:
            await _insist(connection)

    @asynccontextmanager
    async def _lent(self, *, writes: bool) -> AsyncIterator[Pooled]:
        async with self._place():
            connection = await self._taken()
            try:
                with answering(connection, writes=writes):
                    yield connection
            except BaseException:
                with suppress(*DRIVER_ERRORS):
                    await self._given_up(connection)
                raise
            # What was answered stays answered: a line that breaks now is the next one's affair.
            with suppress(*DRIVER_ERRORS):
                await self._pool.release(connection, timeout=CONNECT_SECONDS)

    async def _given_up(self, connection: Pooled) -> None:
        """Gives back what somebody has given up on. A server that has fallen silent is waited for, for a while: who is
        cancelled again meanwhile leaves that to itself, and nobody hears of how it ends."""
        release = asyncio.ensure_future(self._pool.release(connection, timeout=CONNECT_SECONDS))
        release.add_done_callback(take_note)
        await asyncio.shield(release)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            self._refused += 1
            raise Unavailable("no connection is free") from None
        finally:
            self._waiting -= 1
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._free.release()

    async def _taken(self) -> Pooled:
        """A connection whose server took writes when it was last heard of."""
        try:
            await self._open()
            for _ in range(self._pool.get_max_size() + 1):  # each of them may be an old one; then there is a new one
                connection = await self._pool.acquire()
                if self._pgbouncer or self._standby or _takes_writes(connection):
                    return connection
                connection.terminate()
                await self._pool.release(connection)
            raise Unavailable("Postgres takes no writes")
        except Exception as error:
            if not is_failure(error):
                raise
            raise Unavailable("Postgres cannot be reached") from error

    async def _open(self) -> None:
        if not self._opened:
            async with self._opening:
                await self._pool
                self._opened = True


@asynccontextmanager
async def _in_time(connection: Pooled) -> AsyncIterator[None]:
    """A transaction of one state. A server that has fallen silent keeps nobody who has given up: its end is bounded."""
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        yield
    except BaseException:
        await roll_back(connection, transaction)
        raise
    await transaction.commit()


async def _insist(connection: Pooled) -> None:
    """Raises Unavailable where the server takes no writes now. It may be a standby, whose *no* may be out of date."""
    if await connection.fetchval(_READ_ONLY):
        drop(connection)
        raise Unavailable("Postgres takes no writes")


def _takes_writes(connection: Pooled) -> bool:
    """What the server has reported of itself, at no cost; it reports changes by itself."""
    settings = connection.get_settings()
    return "on" not in (
        getattr(settings, "in_hot_standby", "off"),
        getattr(settings, "default_transaction_read_only", "off"),
    )
