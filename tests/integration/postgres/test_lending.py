"""Connections lent from a pool: who waits for one waits a bounded time, and what was answered stays answered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from infra.configs import pool_of
from infra.errors import Unavailable
from infra.postgres import lending
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.proxy import proxy_before
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

WAIT_SECONDS = 0.2


@pytest.fixture
async def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """With one connection, which is not waited for for long."""
    monkeypatch.setattr(lending, "CONNECT_SECONDS", WAIT_SECONDS)
    async with _of_one_connection(settings) as database:
        yield database


@asynccontextmanager
async def _of_one_connection(settings: Settings) -> AsyncIterator[Database]:
    database = Database(pool_of(settings.model_copy(update={"pool_size": 1})))
    try:
        yield database
    finally:
        await database.close()


async def test_who_waits_in_vain_is_told_so_in_time(database: Database) -> None:
    async with database.session():
        async with asyncio.timeout(WAIT_SECONDS * 20):
            with pytest.raises(Unavailable, match="no connection is free"):
                await database.fetch("SELECT 1")
        assert (database.use.used, database.use.waiting, database.use.refused) == (1, 0, 1)
    assert await database.fetchrow("SELECT 1") is not None
    assert database.use.used == 0


async def test_who_waits_gets_it_when_it_is_given_back(database: Database) -> None:
    async with database.session():
        asking = asyncio.create_task(database.fetch("SELECT 1"))
        await eventually(lambda: _is_waited_for(database))
    assert len(await asking) == 1
    assert (database.use.used, database.use.waiting, database.use.refused) == (0, 0, 0)


async def test_who_gives_up_waiting_leaves_no_trace(database: Database) -> None:
    async with database.session():
        asking = asyncio.create_task(database.fetch("SELECT 1"))
        await eventually(lambda: _is_waited_for(database))
        asking.cancel()
        await asyncio.wait({asking})
        assert (database.use.used, database.use.waiting, database.use.refused) == (1, 0, 0)
    assert len(await database.fetch("SELECT 1")) == 1


async def test_what_was_answered_stays_answered_when_the_line_breaks_behind_it(
    settings: Settings, database: Database, database_url: str
) -> None:
    async with proxy_before(database_url) as line:
        url = SecretStr(line.url)
        async with _of_one_connection(settings.model_copy(update={"database_url": url})) as behind:
            async with behind.session() as connection:
                # The pool ends what is open when it takes a connection back, and hears nothing.
                await connection.execute("BEGIN")
                answered = await connection.fetchval("SELECT 1")
                line.stall()
            assert answered == 1
            assert behind.use.used == 0
            await line.close()
    assert len(await database.fetch("SELECT 1")) == 1


async def _is_waited_for(database: Database) -> bool:
    return database.use.waiting == 1
