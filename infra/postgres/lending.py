"""Connections lent to one user each, and taken back. Each statement of a process comes this way, so that it is written
without generators: they were eleven of its 41 µs, thirty of which are the driver's own."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

import asyncpg

from infra.concurrency.cancellation import take_note
from infra.errors import Unavailable
from infra.postgres.connect import CONNECT_SECONDS, Connector, Pooled, is_failure
from infra.postgres.connection import DRIVER_ERRORS, drop_open, raised_for
from infra.postgres.pool_config import COMMAND_SECONDS, PoolConfig, PoolUse
from infra.postgres.standby import StandbyWait

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Shown = TypeVar("Shown")

READ_ONLY: Final = ("in_hot_standby", "default_transaction_read_only")
"""What a server that takes no writes reports of itself, in one of these."""


async def _keep_session(_connection: Any) -> None:
    """Instead of the pool's reset query: our statements leave no session state, so the round trip buys nothing."""


class Lender:
    """The connections of one process, opened when somebody wants one."""

    def __init__(self, config: PoolConfig, connector: Connector) -> None:
        self._any_server = config.pgbouncer or config.standby
        self._pool: Pool = asyncpg.create_pool(
            connect=connector,
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

    async def take(self) -> Pooled:
        """A connection to a server that took writes when last heard of. Raises Unavailable where there is none."""
        await self._take_place()
        try:
            return await self._taken()
        except BaseException as error:
            self._leave_place()
            if isinstance(error, Exception) and is_failure(error):
                raise Unavailable("Postgres cannot be reached") from error
            raise

    async def take_back(self, connection: Pooled) -> None:
        """After it was used. What was answered stays answered: a line that breaks now is the next one's affair."""
        try:
            await self._pool.release(connection, timeout=CONNECT_SECONDS)
        except DRIVER_ERRORS:
            pass
        finally:
            self._leave_place()

    async def give_up(self, connection: Pooled) -> None:
        """After somebody has given up on it. A server that has fallen silent is waited for, for a while: who is
        cancelled again meanwhile leaves that to itself, and nobody hears of how it ends."""
        try:
            drop_open(connection)
            release = asyncio.ensure_future(self._pool.release(connection, timeout=CONNECT_SECONDS))
            release.add_done_callback(take_note)
            with suppress(*DRIVER_ERRORS):
                await asyncio.shield(release)
        finally:
            self._leave_place()

    async def close(self) -> None:
        """Gives running statements a few seconds, then closes every connection."""
        if self._opened:
            try:
                async with asyncio.timeout(5):
                    await self._pool.close()
            except DRIVER_ERRORS:
                self._pool.terminate()

    async def _take_place(self) -> None:
        if self._free.locked():
            await self._wait_for_place()
        else:
            await self._free.acquire()
        self._held += 1

    async def _wait_for_place(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            self._refused += 1
            raise Unavailable("no connection is free") from None
        finally:
            self._waiting -= 1

    def _leave_place(self) -> None:
        self._held -= 1
        self._free.release()

    async def _taken(self) -> Pooled:
        if not self._opened:
            await self._open()
        for _ in range(self._size + 1):  # each of them may be an old one; then there is a new one
            connection = await self._pool.acquire()
            if self._any_server or _takes_writes(connection):
                return connection
            connection.terminate()
            await self._pool.release(connection)
        raise Unavailable("Postgres takes no writes")

    async def _open(self) -> None:
        async with self._opening:
            await self._pool
            self._opened = True


class Loan(Generic[Shown]):
    """A connection until the end of the block, as ``shown`` to its user; failures are told as by
    :func:`~infra.postgres.connection.answering`."""

    __slots__ = ("_connection", "_lender", "_shown", "_standby", "_writes")

    def __init__(self, lender: Lender, shown: Callable[[Pooled], Shown], *, writes: bool) -> None:
        self._lender = lender
        self._shown = shown
        self._writes = writes

    async def __aenter__(self) -> Shown:
        self._connection = await self._lender.take()
        self._standby = StandbyWait(self._connection) if self._writes else None
        return self._shown(self._connection)

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._standby is not None:
            self._standby.leave()
        if error is None:
            await self._lender.take_back(self._connection)
            if self._standby is not None:
                self._standby.insist()
            return
        # Looked at before it is given back, as the pool takes back what is broken and knows no more of it.
        instead = raised_for(self._connection, error, writes=self._writes)
        await self._lender.give_up(self._connection)
        if instead is not None:
            raise instead from error


def _takes_writes(connection: Pooled) -> bool:
    """What the server has reported of itself, at no cost; it reports changes by itself."""
    settings = connection.get_settings()
    return "on" not in [getattr(settings, name, "off") for name in READ_ONLY]
