"""What the doctor looks at: the settings, their servers, and this machine."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from infra.configs import pool_of
from infra.postgres.connection import answering, close
from infra.postgres.pool import Connection, Database, connect
from infra.redis.client import BROKEN
from infra.redis.reachable import unreachable
from infra.redis.resp import info_of, pack
from infra.redis.topology.opening import open_wires
from infra.settings import Settings
from infra.settings.urls import address_of


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on something is told."""

    transaction_seconds: float = 60.0
    connections: float = 0.8
    """Of those that the server takes."""
    standby_seconds: float = 10.0
    standby_bytes: int = 64 << 20
    """Of the server's own log, which a standby has not replayed."""
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

    async def redis(self, *command: str, url: SecretStr | None = None) -> Mapping[str, Any]:
        """What each server of a Redis replies to a command, by its address.

        Raises :class:`~infra.errors.Unavailable`.
        """
        meant = url or self.settings.redis_url
        try:
            wires = await open_wires(meant)
            try:
                told = await wires.ask_each([pack(*command)])
            finally:
                wires.close()
        except BROKEN as error:
            raise unreachable(meant, error) from error
        return {address_of(server.get_secret_value()): reply for server, (reply,) in told.items()}

    async def redis_says(self, section: str, url: SecretStr | None = None) -> Mapping[str, Mapping[str, str]]:
        """The same of ``INFO``, field by field; nothing of a server that may not be asked."""
        return {server: info_of(reply) for server, reply in (await self.redis("INFO", section, url=url)).items()}
