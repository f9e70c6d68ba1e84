"""A connection whose user is cancelled at any wait: it comes back, at rest, and its next user has their own answers."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from infra.configs import pool_of
from infra.errors import Unavailable
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.interruption import Moment, Work, at_each_wait, leftovers
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

Use = Callable[[Database], Work]


async def _write(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute("INSERT INTO noted DEFAULT VALUES")
        await connection.fetchval("SELECT 1")


async def _read(database: Database) -> None:
    async with database.acquire() as reader:
        await reader.fetchval("SELECT 2")
        await reader.fetchval("SELECT 3")


async def _look(database: Database) -> None:
    async with database.snapshot(seconds=1) as snapshot:
        await snapshot.fetchval("SELECT 4")


async def _commit_by_oneself(database: Database) -> None:
    async with database.session() as connection:
        await connection.execute("INSERT INTO noted DEFAULT VALUES")
        async with connection.transaction():
            await connection.execute("INSERT INTO noted DEFAULT VALUES")


@pytest.fixture(params=[False, True], ids=["straight", "as behind a pooler"])
async def database(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """With one connection: who does not give it back is found out by the next."""
    opened = Database(pool_of(settings.model_copy(update={"pool_size": 1, "pgbouncer": request.param})))
    await opened.execute("CREATE TABLE noted (number bigserial)")
    yield opened
    await opened.close()


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("use", [_write, _read, _look, _commit_by_oneself])
async def test_it_comes_back_at_rest(database: Database, use: Use, moment: Moment) -> None:
    async with leftovers(database) as left:
        async for cut in at_each_wait(lambda _: use(database), moment):
            row = await database.fetchrow("SELECT $1::int AS asked", cut.place)
            assert row is not None
            assert row["asked"] == cut.place, "the answer to what somebody else had asked"
            await left.none()


async def test_who_is_cancelled_as_the_line_breaks_is_cancelled(database: Database) -> None:
    """Then the transaction cannot be rolled back. A loop that takes that for a server that is away would go on."""

    async def work() -> None:
        async with database.session() as connection, connection.transaction():
            try:
                await asyncio.Event().wait()
            finally:
                connection.terminate()

    working = asyncio.create_task(work())
    await eventually(lambda: _is_lent(database))
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()


async def _is_lent(database: Database) -> bool:
    return database.use.used == 1


async def test_who_has_only_run_out_of_time_is_not_cancelled(database: Database) -> None:
    """A deadline is a cancellation on the way, and none any more where it ends."""
    with pytest.raises(Unavailable):
        async with database.acquire(), asyncio.timeout(0):
            await asyncio.Event().wait()
