"""The schema's version: brought up to date by ``weir migrate``, checked by every process before it does anything."""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
from pydantic import SecretStr

import migrations
from infra.errors import Rejected, Unavailable, UnknownSchema
from infra.postgres.connection import close
from infra.postgres.pool import DRIVER_ERRORS, Database, connect

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

FOLDER = Path(migrations.__file__).parent

_REVISION = re.compile(r'^revision = "(\w+)"$', re.MULTILINE)
_STANDS_ON = re.compile(r'^down_revision = "(\w+)"$', re.MULTILINE)

MIGRATION_LOCK = 0x57454952
"""An advisory lock's number (the letters WEIR), so that two ``weir migrate`` do not run into each other."""

ENCODING: Final = "UTF8"
"""The one in which a database has every letter that anybody may write."""

WAIT_SECONDS = 30.0
LOOK_SECONDS = 0.1


class MigrationUnderWay(Exception):
    """Another process is changing the schema, and does not come to an end."""

    def __init__(self, waited: float) -> None:
        super().__init__(
            f"another `weir migrate` holds its lock for more than {waited:g} s: see what it does in pg_stat_activity,"
            " and run this again when it has ended"
        )


class MigrationBroke(Exception):
    """A revision failed, or the line to Postgres broke: each revision before that one is committed, and stays."""

    def __init__(self, error: Exception, revision: str | None) -> None:
        reached = f"the schema is at {revision}" if revision else "nobody knows which revision the schema has reached"
        super().__init__(f"the migration broke off, and {reached}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """What went wrong, without the statement that some errors repeat; by its name unless the words are our own."""
    said = str(error).partition("\n")[0]
    return said if isinstance(error, Unavailable | UnknownSchema) else f"{type(error).__name__}: {said}"


def newest() -> str:
    """The revision that this release was built for: the one in ``migrations/versions`` that no other stands on."""
    text = _texts()
    heads: set[str] = {*_REVISION.findall(text)} - {*_STANDS_ON.findall(text)}
    (head,) = heads
    return head


def is_known(revision: str) -> bool:
    """Whether this release can bring a database of that revision up to date."""
    return revision in _REVISION.findall(_texts())


def _texts() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (FOLDER / "versions").glob("[0-9]*.py"))


def _upgrade(connection: "Connection") -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _insist_known(connection: "Connection") -> None:
    from alembic.runtime.migration import MigrationContext

    for revision in MigrationContext.configure(connection).get_current_heads():
        if not is_known(revision):
            raise UnknownSchema(revision, newest(), newer=True)


async def migrate(url: SecretStr, *, shards: int, wait_seconds: float = WAIT_SECONDS) -> str:
    """Brings the schema to the newest revision and lays down the log's head; answers the revision.

    ``shards`` counts only for a new log: it is fixed when the log is created. Raises
    :class:`MigrationUnderWay` where another one is still at it after ``wait_seconds``,
    :class:`~infra.errors.UnknownSchema` where a newer release was there, and :class:`~infra.errors.Unavailable` where
    Postgres cannot be reached or the database is of no use: then nothing has changed. What goes wrong later is
    :class:`MigrationBroke`.
    """
    # Here and not above: every process checks the schema, and none but this one needs an engine.
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine

    # The driver reads the URL, as it does everywhere else: the engine would stumble over `?sslmode=`.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: _connect(url))
    try:
        async with engine.connect() as connection:
            try:
                await _insist_on_encoding(connection)
                await _lock(connection, wait_seconds)
                await connection.run_sync(_insist_known)
                await connection.commit()
            except (SQLAlchemyError, *DRIVER_ERRORS) as error:
                raise Unavailable(first_line(error)) from error
            try:
                await connection.run_sync(_upgrade)
                await connection.execute(
                    text("INSERT INTO log_head (shards) VALUES (:shards) ON CONFLICT DO NOTHING"),
                    {"shards": shards},
                )
                await connection.commit()
            except Exception as error:
                raise MigrationBroke(error, await _reached(url)) from error
    finally:
        await engine.dispose()
    return newest()


async def _reached(url: SecretStr) -> str | None:
    """The revision that is committed, if there is a server to say so."""
    try:
        connection = await _connect(url)
    except Unavailable:
        return None
    try:
        return str(await connection.fetchval("SELECT version_num FROM alembic_version"))
    except DRIVER_ERRORS:
        return None
    finally:
        await close(connection)


async def _connect(url: SecretStr) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await connect(url, prepared=False)
    except asyncpg.PostgresError as error:
        raise Unavailable(f"Postgres refuses: {error}") from error


async def _insist_on_encoding(connection: "AsyncConnection") -> None:
    """Nobody could change it later: in any other, what has a letter that is not in it could not be stored."""
    from sqlalchemy import text

    found = await connection.scalar(text("SELECT current_setting('server_encoding')"))
    if found != ENCODING:
        raise Rejected(
            f"the database is in {found}, and Weir needs one in {ENCODING}:"
            f" CREATE DATABASE … ENCODING '{ENCODING}' TEMPLATE template0"
        )


async def _lock(connection: "AsyncConnection", wait_seconds: float) -> None:
    """Takes the lock for as long as the connection lives. To ask again and again leaves no timeout set behind."""
    from sqlalchemy import text

    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    asking = text("SELECT pg_try_advisory_lock(:number)")
    while not await connection.scalar(asking, {"number": MIGRATION_LOCK}):
        await connection.commit()
        if loop.time() >= until:
            raise MigrationUnderWay(wait_seconds)
        await asyncio.sleep(LOOK_SECONDS)
    await connection.commit()


async def check(database: Database) -> None:
    """Raises :class:`~infra.errors.UnknownSchema` unless the database is exactly at this release's revision."""
    try:
        found = await database.fetchrow("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        found = None
    revision = found["version_num"] if found else None
    if revision != newest():
        raise UnknownSchema(revision, newest(), newer=revision is not None and not is_known(revision))
