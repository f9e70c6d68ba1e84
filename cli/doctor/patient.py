"""What the doctor looks at: the settings, their servers, and this machine."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr
from redis.asyncio import Redis

from infra.configs import pool_of
from infra.postgres.connection import answering, close
from infra.postgres.pool import Connection, Database, connect
from infra.redis.topology.holders import locate
from infra.redis.topology.library import WAITS
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on something is told."""

    transaction_seconds: float = 60.0
    connections: float = 0.8
    """Of those that the server takes."""
    standby_seconds: float = 10.0
    slot_bytes: int = 1 << 30
    dead_rows: int = 10_000
    dead_share: float = 0.5
    """Of the rows that live: so many more may be dead."""
    disk: float = 0.90
    disk_full: float = 0.97
    owed_seconds: float = 600.0
    """So long nothing is owed that can be had."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """``clock`` tells this machine's time, in Unix seconds."""

    settings: Settings
    limits: Limits = Limits()
    clock: Callable[[], float] = time.time

    @asynccontextmanager
    async def postgres(self, url: SecretStr | None = None) -> AsyncIterator[Connection]:
        """A connection of one check's own, by the direct way unless another is named, which may go through a pooler.

        Raises :class:`~infra.errors.Unavailable`.
        """
        connection = await connect(url or self.settings.direct_url, pgbouncer=url is not None)
        try:
            with answering(connection, writes=False):
                yield connection
        finally:
            await close(connection)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """The same for what asks a pool."""
        database = Database(pool_of(self.settings))
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def redis(self, url: SecretStr | None = None) -> AsyncIterator[Sequence[Redis]]:
        """Clients of one check's own: of each server that holds anything, one if there is only one.

        Raises one of :data:`~infra.redis.client.BROKEN`.
        """
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Redis.from_url(server.get_secret_value(), **WAITS))
                for server in (await locate(url or self.settings.redis_url)).servers
            ]
