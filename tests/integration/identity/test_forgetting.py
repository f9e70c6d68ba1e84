"""What is only kept for a while is gone after it, and nothing sooner."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from inspect import unwrap
from typing import Any, Final

import orjson
import pytest

from infra.configs import pool_of
from infra.eventsourcing.store.idempotency_keys import KEPT_FOR, OLD
from infra.identity.api_keys import store as api_keys
from infra.identity.sessions import statements as sessions
from infra.imports import cleanup as imports
from infra.mail import retention as mails
from infra.postgres.pool import Database
from infra.postgres.retention import Retention, Sweep, forget
from infra.settings import Settings
from infra.webhooks import delivery_log
from workers.job_runner import worker_options
from workers.tasks import TASKS
from workers.upkeep import cleanup
from workers.upkeep.cleanup import forget_old_rows

pytestmark = pytest.mark.anyio

EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
MAIL: Final = (
    "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, state, due_at)"
    " SELECT gen_random_uuid(), g, 'notice', gen_random_uuid()::text, '{}', '<m>', $1,"
    " now() - make_interval(days => $2) FROM generate_series(1, 3) g"
)
SESSION: Final = (
    "INSERT INTO sessions (session_id, account_id, password_no, user_agent, source, expires_at, ended_at)"
    " VALUES (gen_random_uuid(), gen_random_uuid(), 0, $1, '', now() + make_interval(hours => $2),"
    " now() + make_interval(hours => $3))"
)
RETENTIONS: Final[Mapping[str, Retention]] = {
    "commands": OLD,
    "sessions": sessions.OLD,
    "api_keys": api_keys.OLD,
    "webhook_deliveries": delivery_log.OLD,
    "mail_ledger": mails.OLD,
    "imports": imports.OLD,
}


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


async def sweep_once(database: Database, mail_kept_days: float = 90) -> None:
    await forget_old_rows({"database": database, "mail_kept_days": mail_kept_days})


async def test_an_outcome_is_kept_for_a_day_and_then_forgotten(database: Database) -> None:
    await keep(database, 3, hours=24.01)
    await keep(database, 2, hours=23.99)
    await sweep_once(database)
    assert await kept(database) == 2


async def test_what_was_sent_or_refused_is_forgotten_in_time_and_what_is_owed_or_given_up_never(
    database: Database,
) -> None:
    for state in ("due", "sending", "unknown", "failed", "sent", "refused"):
        await database.execute(MAIL, state, 91)
    await database.execute(MAIL, "sent", 89)
    await sweep_once(database)
    left = await database.fetch("SELECT state, count(*) FROM mail_ledger GROUP BY state")
    assert {row["state"]: row["count"] for row in left} == dict.fromkeys(
        ("due", "sending", "unknown", "failed", "sent"), 3
    )
    await sweep_once(database, mail_kept_days=88)
    assert await database.fetch("SELECT FROM mail_ledger WHERE state = 'sent'") == []


async def test_a_session_that_is_over_goes_after_a_day_with_its_tokens_though_nobody_comes_again(
    database: Database,
) -> None:
    for name, expires, ended in (
        ("ran out", -25, None),
        ("was ended", 700, -25),
        ("ran out lately", -23, None),
        ("was ended lately", 700, -23),
        ("goes on", 700, None),
    ):
        await database.execute(SESSION, name, expires, ended)
    await database.execute(
        "INSERT INTO refresh_tokens (digest, session_id) SELECT user_agent::bytea, session_id FROM sessions"
    )
    await sweep_once(database)
    left = {row["user_agent"] for row in await database.fetch("SELECT user_agent FROM sessions")}
    assert left == {"ran out lately", "was ended lately", "goes on"}
    assert len(await database.fetch("SELECT FROM refresh_tokens")) == 3


async def test_a_key_that_is_dead_goes_after_a_day_though_its_account_makes_no_other(database: Database) -> None:
    await database.execute(
        "INSERT INTO api_keys (key_id, account_id, name, digest, scopes, expires_at, revoked_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), name, sha256(''), '{}', now() + e * interval '1 hour',"
        " now() + r * interval '1 hour' FROM (VALUES ('ran out', -25, NULL), ('revoked', NULL, -25),"
        " ('revoked lately', NULL, -23), ('lives', NULL, NULL), ('lives on', 1, NULL)) AS k (name, e, r)"
    )
    await sweep_once(database)
    left = {row["name"] for row in await database.fetch("SELECT name FROM api_keys")}
    assert left == {"revoked lately", "lives", "lives on"}


async def test_what_is_old_is_deleted_in_small_statements(database: Database) -> None:
    await keep(database, 7, hours=25)
    sweep = Sweep(OLD, KEPT_FOR, at_once=3)
    assert [await sweep.step(database) for _ in range(3)] == [True, True, False]
    assert (sweep.forgotten, await kept(database)) == (7, 0)


async def test_what_imports_write_in_a_minute_is_less_than_one_job_takes_away(database: Database) -> None:
    await keep(database, 60_000, hours=25)
    await sweep_once(database)
    assert await kept(database) == 0


async def test_nothing_waits_until_another_has_caught_up(database: Database) -> None:
    """What years have left behind may take hours, and outcomes come in all the time."""
    await keep(database, 12_000, hours=25)
    await database.execute(MAIL, "sent", 91)
    order: list[str] = []
    for name, sweep in (sweeps := cleanup.sweeps(90)).items():
        sweeps[name] = Told(name, sweep, order)
    await cleanup.carry_out(database, sweeps)
    assert order.index("mails") < len(sweeps) <= order.index("outcomes", 1)


async def test_a_sweep_without_an_end_ends_with_its_time(database: Database) -> None:
    sweep = Endless()
    async with asyncio.timeout(10):
        await cleanup.carry_out(database, {"what comes in faster": sweep}, seconds=0.05)
    assert sweep.forgotten


class Endless:
    """A sweep of rows that come in faster than they go."""

    def __init__(self) -> None:
        self.forgotten = 0

    async def step(self, _database: Database) -> bool:
        await asyncio.sleep(0)
        self.forgotten += 1
        return True


class Told:
    """A sweep that writes down when its turn comes."""

    def __init__(self, name: str, sweep: cleanup.Sweeping, order: list[str]) -> None:
        self._name, self._sweep, self._order = name, sweep, order
        self.forgotten = 0

    async def step(self, database: Database) -> bool:
        self._order.append(self._name)
        return await self._sweep.step(database)


@pytest.mark.parametrize("table", RETENTIONS)
async def test_what_goes_is_found_by_an_index(table: str, database: Database) -> None:
    async with database.session() as connection:
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        statement, *values = RETENTIONS[table].forgetting(timedelta(days=1))
        explained = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)
    (scan,) = [node for node in nodes(orjson.loads(explained)[0]["Plan"]) if node["Node Type"].startswith("Index")]
    assert scan["Relation Name"] == table
    assert "Index Cond" in scan


def nodes(plan: Any) -> list[Any]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


async def test_a_sweep_reads_what_it_deletes_and_no_more(database: Database) -> None:
    """Old outcomes among many new ones, in blocks that were used before: as it is after the first day."""
    await keep(database, 60_000, hours=23)
    await keep(database, 20_000, hours=25)
    assert await forget(database, OLD, KEPT_FOR) == 20_000
    await database.execute("VACUUM ANALYZE commands")
    await keep(database, 5_000, hours=25)
    await keep(database, 15_000, hours=1)
    statement, *values = OLD.forgetting(KEPT_FOR, at_once=1_000)
    async with database.session() as connection:
        (told,) = orjson.loads(await connection.fetchval(f"{EXPLAIN} {statement}", *values))
    plan = told["Plan"]
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    assert blocks < 8 * 1_000, "a lock, a look and a delete for each"
    assert await kept(database) == 60_000 + 15_000 + 4_000


async def test_a_second_statement_does_not_walk_over_what_the_first_has_deleted(database: Database) -> None:
    await keep(database, 20_000, hours=25)
    row = await database.returning_row(*OLD.forgetting(KEPT_FOR, at_once=10_000))
    assert row is not None
    costs = []
    async with database.session() as connection:
        for since in ({"since": row["newest"]}, {}):
            statement, *values = OLD.forgetting(KEPT_FOR, at_once=10, **since)
            await connection.execute("BEGIN")
            explained = await connection.fetchval(f"{EXPLAIN} {statement}", *values)
            await connection.execute("ROLLBACK")
            plan = orjson.loads(explained)[0]["Plan"]
            costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert costs[0] < 200 < costs[1]


async def test_a_row_that_somebody_is_at_is_passed_over(database: Database) -> None:
    await keep(database, 2, hours=25)
    async with database.write() as connection:
        await connection.execute("SELECT FROM commands LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(2):
            assert await forget(database, OLD, KEPT_FOR) == 1
    assert await kept(database) == 1


async def test_workers_forget_every_minute(settings: Settings) -> None:
    options = worker_options(settings, "weir:0badcafe:jobs", TASKS.cron_jobs)
    (job,) = [job for job in options["cron_jobs"] if job.name == "weir:0badcafe:jobs:forget_old_rows"]
    assert unwrap(job.coroutine) is forget_old_rows
    assert (job.minute, len(job.second)) == (None, 1)
    await options["redis_pool"].aclose(close_connection_pool=True)
