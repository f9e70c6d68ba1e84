"""Postgres, straight through the driver. JSON columns are bytes in both directions, so that nothing is parsed twice."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from infra.errors import Unavailable
from infra.settings import Settings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pooled: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONNECT_SECONDS = 1.0
"""How long a new connection may take before the server counts as down."""

_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")

UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    # The driver's own confusion about a line that broke in the middle of an exchange.
    asyncpg.InternalClientError,
)
"""What a caller sees when Postgres is away, restarting or full; a bad statement is not among these."""


def _jsonb_in(data: bytes) -> bytes:
    return b"\x01" + data


def _jsonb_out(data: bytes) -> bytes:
    return bytes(data[1:])


async def prepare(connection: Any) -> None:
    """Gives a new connection its codecs: ``json`` and ``jsonb`` travel as the bytes of their text."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_jsonb_in, decoder=_jsonb_out, format="binary"
    )
    await connection.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def _keep_session(_connection: Any) -> None:
    """Instead of the pool's reset query: our statements leave no session state, so the round trip buys nothing."""


def options(url: SecretStr, *, pgbouncer: bool = False) -> dict[str, Any]:
    """The driver's arguments for a URL; a pooler in transaction mode gets no prepared statements."""
    dsn = url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1)
    cache = {"statement_cache_size": 0} if pgbouncer else {}
    return {"dsn": dsn, "timeout": CONNECT_SECONDS, **cache, **_encryption(dsn)}


def _encryption(dsn: str) -> dict[str, Any]:
    """A server on this machine is not asked for TLS unless somebody wants it.

    The question costs each connection a round trip, and a driver that is cancelled while it waits for the answer leaves
    an exception behind that nobody can catch.
    """
    parts = urlsplit(dsn)
    wanted = "sslmode" in parts.query or "PGSSLMODE" in os.environ
    return {} if wanted or parts.hostname not in _THIS_MACHINE else {"ssl": False}


async def connect(url: SecretStr, *, pgbouncer: bool = False) -> Connection:
    """A connection of one's own. Raises :class:`~infra.errors.Unavailable` when the server cannot be reached."""
    try:
        connection: Connection = await asyncpg.connect(**options(url, pgbouncer=pgbouncer))
        await prepare(connection)
    except (*UNREACHABLE, ssl.SSLError) as error:
        raise Unavailable("Postgres cannot be reached") from error
    return connection


class Database:
    """The pool of one process, opened lazily: a process starts, and says so in its health, while Postgres is away."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._pgbouncer = settings.pgbouncer
        self._pool: Pool = asyncpg.create_pool(
            **options(settings.database_url, pgbouncer=settings.pgbouncer),
            min_size=0,
            max_size=settings.pool_size,
            init=prepare,
            reset=_keep_session,
            command_timeout=10,
        )
        self._opened = False
        self._opening = asyncio.Lock()

    async def connect(self) -> Connection:
        """A dedicated connection beside the pool; the caller closes it."""
        return await connect(self._url, pgbouncer=self._pgbouncer)

    @asynccontextmanager
    async def acquire(self, timeout: float = CONNECT_SECONDS) -> AsyncIterator[Pooled]:
        """A pooled connection for a few statements.

        Raises :class:`~infra.errors.Unavailable` when none is free within ``timeout`` seconds or the server goes away.
        """
        try:
            await self._open()
            async with self._pool.acquire(timeout=timeout) as connection:
                yield connection
        except UNREACHABLE as error:
            raise Unavailable("Postgres cannot be reached") from error

    async def _open(self) -> None:
        if not self._opened:
            async with self._opening:
                await self._pool
                self._opened = True

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self.acquire() as connection:
            return await connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> asyncpg.Record | None:
        """The first row of one statement, or None."""
        async with self.acquire() as connection:
            return await connection.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        """Runs one statement; answers its command tag."""
        async with self.acquire() as connection:
            return await connection.execute(statement, *arguments)

    async def close(self) -> None:
        """Gives running statements a few seconds, then closes every connection."""
        if self._opened:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except (TimeoutError, *UNREACHABLE):
                self._pool.terminate()
