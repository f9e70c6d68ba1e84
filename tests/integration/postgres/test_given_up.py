"""A connection whose user has given up, and is told to hurry, while its server is silent."""

import asyncio
import gc
from typing import Any

import pytest
from pydantic import SecretStr

from infra.configs import pool_of
from infra.postgres import lending
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.proxy import proxy_before
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


async def test_nobody_hears_of_how_the_giving_back_ends(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be told as an error that nobody has asked for, long after everybody has gone on."""
    monkeypatch.setattr(lending, "CONNECT_SECONDS", 0.2)
    told = list[dict[str, Any]]()
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with proxy_before(database_url) as line:
            database = Database(pool_of(settings.model_copy(update={"database_url": SecretStr(line.url)})))
            await database.fetch("SELECT 1")
            line.stall()
            asking = asyncio.create_task(database.fetch("SELECT 1"))
            await eventually(lambda: _is_held(database))
            asking.cancel()
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()
            await eventually(_is_alone)
            await line.close()
            await database.close()
        gc.collect()
        await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(before)
    assert told == []


async def _is_held(database: Database) -> bool:
    return database.use.used == 1


async def _is_alone() -> bool:
    """Whether nothing of the driver's is left running."""
    return not [task for task in asyncio.all_tasks() if "release" in repr(task.get_coro())]
