"""A connection as those have it who only read: a statement that writes cannot go this way.

The answer to one that reads may be lost, and nothing was stored. Of one that writes nobody knows, and who asked must be
told so: that is the other way's part, see :class:`~infra.postgres.pool.Database`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

import asyncpg

_WRITES: Final = re.compile(
    r"\b(INSERT\s+INTO|DELETE\s+FROM|MERGE\s+INTO|UPDATE\s+\w+(\s+\w+)?\s+SET|LOCK\s+TABLE|TRUNCATE|COPY|CREATE|ALTER|DROP)\b",
    re.IGNORECASE,
)

_SET: Final = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS given (name, value)"
"""Until the end of the transaction."""


class OneRow(Protocol):
    """What can be asked for a row: a connection to read on, or the pool, which takes one for that."""

    async def fetchrow(self, query: str, /, *args: Any) -> asyncpg.Record | None: ...


class Reader(Protocol):
    """A connection to read on."""

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]: ...

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> asyncpg.Record | None: ...

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any: ...


class Reading:
    """Lends a connection to readers. A statement that writes is refused before it is sent."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Reader) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        return await self._connection.fetch(only_read(query), *args, timeout=timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> asyncpg.Record | None:
        return await self._connection.fetchrow(only_read(query), *args, timeout=timeout)

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        return await self._connection.fetchval(only_read(query), *args, timeout=timeout)


class Snapshot(Reading):
    """Lends a transaction that only reads: all its statements see one and the same state."""

    __slots__ = ()

    async def plan(self, settings: Mapping[str, str]) -> None:
        """Has the planner go by these settings for the statements that follow."""
        await self.fetch(_SET, list(settings), list(settings.values()))


@lru_cache(maxsize=1_000)
def only_read(statement: str) -> str:
    """The statement. Raises ``ValueError`` for one that writes: if its answer is lost, nobody would say so."""
    if _WRITES.search(statement):
        raise ValueError("a statement that writes went the way of those that read: use execute, returning or write")
    return statement
