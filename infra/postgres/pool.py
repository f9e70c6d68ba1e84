"""Postgres, straight through the driver. JSON columns are bytes in both directions, so that nothing is parsed twice.

There are two ways in, because a line that breaks means two things::

    read    acquire, snapshot, fetch, fetchrow   nothing was stored ─▶ Unavailable
    write   write                                one transaction: until its COMMIT is sent ─▶ Unavailable
            execute, returning, returning_row    one statement         \\ sent, and no answer ─▶ OutcomeUnknown
            session                              several commits       /

What a server refuses is :class:`~infra.errors.Unavailable` either way. A connection that is of no more use is dropped.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import asyncpg

from infra.errors import TookTooLong, Unavailable
from infra.postgres.connect import CONNECT_SECONDS, Connection, Connector, Pooled, connect, prepare
from infra.postgres.connection import DRIVER_ERRORS, drop, in_transaction
from infra.postgres.lending import Lender, Loan
from infra.postgres.pool_config import PoolConfig, PoolUse
from infra.postgres.reader import Reader, Reading, Snapshot

__all__ = ["CONNECT_SECONDS", "DRIVER_ERRORS", "Connection", "Database", "Pooled", "Reader", "connect", "prepare"]

_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"
"""True on a standby, too."""
_ONLY_READ: Final = {"transaction_read_only": "on"}


class Database:
    """The pool of one process, opened lazily: a process starts, and says so in its health, while Postgres is away."""

    def __init__(self, config: PoolConfig) -> None:
        self._pgbouncer = config.pgbouncer
        self._standby = config.standby
        self._connector = Connector(config.url, pgbouncer=config.pgbouncer, standby=config.standby)
        self._lender = Lender(config, self._connector)

    @property
    def use(self) -> PoolUse:
        """How it is used at this moment."""
        return self._lender.use

    def follow_connections(self, told: Callable[[Connection], Awaitable[None]]) -> None:
        """Has ``told`` shown each new connection, before anything else is asked over it.

        What a pooler says there is about another connection of its own: behind one, whoever wants to know must ask.
        """
        if not self._pgbouncer:
            self._connector.on_opened = told

    async def connect(self) -> Connection:
        """A dedicated connection beside the pool; the caller closes it. Raises Unavailable."""
        return await self._connector()

    def acquire(self) -> AbstractAsyncContextManager[Reader]:
        """A connection to read on, for a few statements.

        Raises :class:`~infra.errors.Unavailable` when none is free in time or the server goes away.
        """
        return self._pooler_reading() if self._pgbouncer else Loan(self._lender, Reading, writes=False)

    @asynccontextmanager
    async def _pooler_reading(self) -> AsyncIterator[Reader]:
        """A pooler may change its server from one transaction to the next: behind it each read is one, and looks."""
        async with self._lend() as connection, in_transaction(connection, writes=False):
            await self._look(connection)
            yield Reading(connection)

    @asynccontextmanager
    async def snapshot(self, *, seconds: float, planner: Mapping[str, str] | None = None) -> AsyncIterator[Snapshot]:
        """A transaction to read on: one and the same state for all its statements, each of at most so many seconds.

        ``planner`` are settings of the planner, for this transaction. Raises :class:`~infra.errors.Unavailable` as
        :meth:`acquire` does, and :class:`~infra.errors.TookTooLong` for a statement that was ended.
        """
        async with self._lend() as connection:
            try:
                async with in_transaction(connection, writes=False, isolation="repeatable_read"):
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
        :class:`~infra.errors.OutcomeUnknown` when the answer to the commit is lost, or a standby may lack it that
        has to have it.
        """
        async with self._lend() as connection, in_transaction(connection, writes=True):
            await self._look(connection)
            yield connection

    def session(self) -> AbstractAsyncContextManager[Pooled]:
        """A connection for statements that commit one by one, or in transactions of the caller's.

        Raises :class:`~infra.errors.Unavailable`, and :class:`~infra.errors.OutcomeUnknown` where the last statement
        may have been carried out.
        """
        return Loan(self._lender, _itself, writes=True)

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
        async with self._lend() as connection:
            await _insist(connection)

    async def close(self) -> None:
        """Gives running statements a few seconds, then closes every connection."""
        await self._lender.close()

    def _lend(self) -> Loan[Pooled]:
        """For what commits nothing by itself."""
        return Loan(self._lender, _itself, writes=False)

    async def _look(self, connection: Pooled) -> None:
        if self._pgbouncer and not self._standby:
            await _insist(connection)


async def _insist(connection: Pooled) -> None:
    """Raises Unavailable where the server takes no writes now. It may be a standby, whose *no* may be out of date."""
    if await connection.fetchval(_READ_ONLY):
        drop(connection)
        raise Unavailable("Postgres takes no writes")


def _itself(connection: Pooled) -> Pooled:
    return connection
