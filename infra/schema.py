"""The schema's version: brought up to date by ``weir migrate``, checked by every process before it does anything."""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

import migrations
from infra.database import Database
from infra.errors import UnknownSchema

MIGRATION_LOCK = 0x57454952
"""An advisory lock's number (the letters WEIR), so that two ``weir migrate`` do not run into each other."""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def newest() -> str:
    """The revision that this release was built for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("this installation carries no migrations")
    return head


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def migrate(url: SecretStr, *, shards: int) -> str:
    """Brings the schema to the newest revision and lays down the log's head; answers the revision.

    ``shards`` counts only for a new log: it is fixed when the log is created.
    """
    address = url.get_secret_value().replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(address, connect_args={"statement_cache_size": 0})
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": MIGRATION_LOCK})
            await connection.commit()
            await connection.run_sync(_upgrade)
            await connection.execute(
                text("INSERT INTO log_head (shards) VALUES (:shards) ON CONFLICT DO NOTHING"),
                {"shards": shards},
            )
            await connection.commit()
    finally:
        await engine.dispose()
    return newest()


async def check(database: Database) -> None:
    """Raises :class:`~infra.errors.UnknownSchema` unless the database is exactly at this release's revision."""
    try:
        found = await database.fetchrow("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        found = None
    revision = found["version_num"] if found else None
    if revision != newest():
        raise UnknownSchema(revision, newest())
