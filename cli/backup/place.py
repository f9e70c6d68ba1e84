"""The database that a backup is restored into: one with nothing in it, or one beside that which it then replaces."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
from pydantic import SecretStr

from infra.errors import Rejected, Unavailable
from infra.postgres.connection import close
from infra.postgres.pool import Connection, connect

MAINTENANCE: Final = ("postgres", "template1")
"""Databases that one may be connected to while another is made or renamed."""

_TABLES: Final = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT starts_with(n.nspname, 'pg_')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
"""
_MADE_AS: Final = """
SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype, datlocale,
    CASE datlocprovider WHEN 'b' THEN 'builtin' WHEN 'i' THEN 'icu' ELSE 'libc' END AS provider
FROM pg_database WHERE datname = $1
"""
_SEND_AWAY: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'
"""


def name_of(url: SecretStr) -> str:
    """The database of a URL."""
    return unquote(urlsplit(url.get_secret_value()).path.removeprefix("/"))


def on(url: SecretStr, database: str) -> SecretStr:
    """The same server's database of that name."""
    parts = urlsplit(url.get_secret_value())
    return SecretStr(urlunsplit(parts._replace(path=f"/{quote(database, safe='')}")))


async def is_empty(url: SecretStr) -> bool:
    """Whether there is no table in it. Raises :class:`~infra.errors.Unavailable`."""
    async with _connected(url) as connection:
        return bool(await connection.fetchval(_TABLES) == 0)


@asynccontextmanager
async def beside(url: SecretStr) -> AsyncIterator[SecretStr]:
    """A new database, made as the one of the URL is; it goes again where the block fails.

    The role must be one that may create databases.
    """
    name, new = name_of(url), f"{name_of(url)}_restored_{_stamp()}"
    async with _maintaining(url) as connection:
        await connection.execute(await _creating(connection, new, name))
    try:
        yield on(url, new)
    except BaseException:
        async with _maintaining(url) as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {_quoted(new)} WITH (FORCE)")
        raise


async def replace(url: SecretStr, restored: SecretStr) -> str:
    """Gives the restored database the name of the one that it replaces; answers how that is called from now on.

    Nobody can connect to either meanwhile, and who was connected is sent away: each process comes back to the new one,
    over a new connection, which says of which history it is.
    """
    name, new = name_of(url), name_of(restored)
    old = f"{name}_replaced_{_stamp()}"
    async with _maintaining(url) as connection:
        await connection.execute(f"ALTER DATABASE {_quoted(name)} WITH ALLOW_CONNECTIONS false")
        try:
            for database in (name, new):
                await connection.execute(_SEND_AWAY, database)
            async with connection.transaction():
                await connection.execute(f"ALTER DATABASE {_quoted(name)} RENAME TO {_quoted(old)}")
                await connection.execute(f"ALTER DATABASE {_quoted(new)} RENAME TO {_quoted(name)}")
        except BaseException:
            await connection.execute(f"ALTER DATABASE {_quoted(name)} WITH ALLOW_CONNECTIONS true")
            raise
        await connection.execute(f"ALTER DATABASE {_quoted(old)} WITH ALLOW_CONNECTIONS true")
    return old


async def _creating(connection: Connection, new: str, like: str) -> str:
    row: Any = await connection.fetchrow(_MADE_AS, like)
    locale = f" {row['provider']}_locale {_literal(row['datlocale'])}" if row["datlocale"] else ""
    return (
        f"CREATE DATABASE {_quoted(new)} TEMPLATE template0 ENCODING {_literal(row['encoding'])}"
        f" LC_COLLATE {_literal(row['datcollate'])} LC_CTYPE {_literal(row['datctype'])}"
        f" LOCALE_PROVIDER {row['provider']}{locale}"
    )


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@asynccontextmanager
async def _maintaining(url: SecretStr) -> AsyncIterator[Connection]:
    failure: Exception = Unavailable("no database")
    for name in MAINTENANCE:
        try:
            connection = await connect(on(url, name))
        except Rejected as error:
            failure = error
            continue
        try:
            yield connection
        finally:
            await close(connection)
        return
    raise failure


@asynccontextmanager
async def _connected(url: SecretStr) -> AsyncIterator[Connection]:
    connection = await connect(url)
    try:
        yield connection
    finally:
        with suppress(asyncpg.PostgresError):
            await close(connection)
