"""What was only to be kept for a day is gone after it, and nothing sooner."""

import asyncio
from collections.abc import AsyncIterator
from inspect import unwrap

import orjson
import pytest

from infra.configs import pool_of
from infra.eventsourcing.store.idempotency_keys import AT_ONCE, FORGET, KEPT_HOURS, LONG_AGO, MOST_AT_ONCE, forget_old
from infra.postgres.pool import Database
from infra.settings import Settings
from workers.job_runner import worker_options
from workers.tasks import TASKS
from workers.upkeep.cleanup import forget_commands

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    yield opened
    await opened.close()


async def keep(database: Database, count: int, hours: float) -> None:
    """Outcomes that were told so long ago."""
    await database.execute(
        "INSERT INTO commands"
        " SELECT 'ada', gen_random_uuid()::text, '', '{}', 1, now() - make_interval(secs => $2) - g * interval '1 us'"
        " FROM generate_series(1, $1) g",
        count,
        hours * 3600,
    )


async def kept(database: Database) -> int:
    return len(await database.fetch("SELECT FROM commands"))


async def test_an_outcome_is_kept_for_a_day_and_then_forgotten(database: Database) -> None:
    await keep(database, 3, hours=24.01)
    await keep(database, 2, hours=23.99)
    await forget_commands({"database": database})
    assert await kept(database) == 2


async def test_what_is_old_is_deleted_in_small_statements_and_not_without_end(database: Database) -> None:
    await keep(database, 7, hours=25)
    assert await forget_old(database, at_once=2, most=2) == 4
    assert await kept(database) == 3
    assert await forget_old(database, at_once=2, most=2) == 3
    assert await forget_old(database, at_once=2, most=2) == 0


async def test_a_sweep_takes_twice_what_imports_write_between_two(database: Database) -> None:
    assert AT_ONCE * MOST_AT_ONCE >= 2 * 300_000
    await keep(database, 60_000, hours=25)
    assert await forget_old(database) == 60_000


async def test_a_sweep_reads_what_it_deletes_and_no_more(database: Database) -> None:
    """Old outcomes among many new ones, in blocks that were used before: as it is after the first day."""
    await keep(database, 60_000, hours=23)
    await keep(database, 20_000, hours=25)
    assert await forget_old(database) == 20_000
    await database.execute("VACUUM ANALYZE commands")
    await keep(database, 5_000, hours=25)
    await keep(database, 15_000, hours=1)
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
    async with database.session() as connection:
        (told,) = orjson.loads(await connection.fetchval(f"{explain} {FORGET}", LONG_AGO, KEPT_HOURS, 1_000))
    plan = told["Plan"]
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks < 8 * 1_000, "a lock, a look and a delete for each"
    assert await kept(database) == 60_000 + 15_000 + 4_000


async def test_a_second_statement_does_not_walk_over_what_the_first_has_deleted(database: Database) -> None:
    await keep(database, 20_000, hours=25)
    row = await database.returning_row(FORGET, LONG_AGO, KEPT_HOURS, 10_000)
    assert row is not None
    costs = []
    async with database.session() as connection:
        for since in (row["newest"], LONG_AGO):
            await connection.execute("BEGIN")
            explained = await connection.fetchval(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {FORGET}", since, KEPT_HOURS, 10
            )
            await connection.execute("ROLLBACK")
            plan = orjson.loads(explained)[0]["Plan"]
            costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert costs[0] < 200 < costs[1]


async def test_a_row_that_somebody_is_at_is_passed_over(database: Database) -> None:
    await keep(database, 2, hours=25)
    async with database.write() as connection:
        await connection.execute("SELECT FROM commands LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(2):
            assert await forget_old(database) == 1
    assert await kept(database) == 1


async def test_workers_forget_every_minute(settings: Settings) -> None:
    options = worker_options(settings, "weir:0badcafe:jobs", TASKS.cron_jobs)
    (job,) = [job for job in options["cron_jobs"] if job.name == "weir:0badcafe:jobs:forget_commands"]
    assert unwrap(job.coroutine) is forget_commands
    assert (job.minute, len(job.second)) == (None, 1)
    await options["redis_pool"].aclose(close_connection_pool=True)
