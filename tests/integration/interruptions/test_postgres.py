"""A connection whose user is cancelled at any wait: it comes back, at rest, and its next user has their own answers."""

from collections.abc import AsyncIterator, Callable

import pytest

from infra.configs import pool_of
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.interruption import Moment, Work, at_each_wait, leftovers

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
