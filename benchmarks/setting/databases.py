"""The databases of one run of the bench: made as measures need them, and dropped again."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from benchmarks.setting.log import write_log
from benchmarks.setting.servers import Servers
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import connect
from infra.postgres.schema_version import migrate
from projections.registry import PROJECTIONS

SHARDS = 8


class Databases:
    """Makes databases on one server. ``events`` is the length of the long log."""

    def __init__(self, servers: Servers, *, events: int) -> None:
        self._servers = servers
        self._events = events
        self._numbers = count(1)
        self._long_log: str | None = None

    @asynccontextmanager
    async def fresh(self, *, migrated: bool) -> AsyncIterator[str]:
        """A database of one's own, with Weir's schema or empty; dropped in the end. Gives its URL."""
        url = await self._create(migrated=migrated)
        try:
            yield url
        finally:
            await self._drop(url)

    async def long_log(self) -> str:
        """The URL of a database with a long log of orders, written when it is first asked for."""
        if self._long_log is None:
            self._long_log = await self._create(migrated=True)
            await write_log(self._long_log, self._events, SHARDS)
        return self._long_log

    async def checkpoint(self) -> None:
        """Flush what a lap has left behind, so that the next one does not pay for it."""
        await _execute(self._servers.admin, "CHECKPOINT")

    async def close(self) -> None:
        """Drop the long log."""
        if self._long_log is not None:
            await self._drop(self._long_log)

    async def _create(self, *, migrated: bool) -> str:
        name = f"bench_{os.getpid()}_{next(self._numbers)}"
        await _execute(self._servers.database, f"CREATE DATABASE {name}")
        url = urlunsplit(urlsplit(self._servers.database)._replace(path=f"/{name}"))
        if migrated:
            await _migrate(SecretStr(url))
        return url

    async def _drop(self, url: str) -> None:
        # By the admin: a plain user may not end an autovacuum that is at work in it.
        await _execute(self._servers.admin, f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")


async def _migrate(url: SecretStr) -> None:
    """What ``weir migrate`` does."""
    await migrate(url, shards=SHARDS)
    connection = await connect(url)
    try:
        await install(connection, PROJECTIONS)
    finally:
        await connection.close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
