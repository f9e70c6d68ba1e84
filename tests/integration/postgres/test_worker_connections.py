"""The connections of workers: whatever one leaves behind when it is paused or gone, the server ends in time."""

import ast
from pathlib import Path

import pytest

from infra.configs import pool_of, worker_pool_of
from infra.eventsourcing.leases.checkpoints import FOLD_SECONDS, guard
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

WORKERS = Path(__file__).parents[3] / "workers"
PROBED = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}


async def shown(database: Database, name: str) -> str:
    async with database.session() as session:
        return str(await session.fetchval(f"SHOW {name}"))


async def test_a_workers_statements_and_transactions_are_ended_by_the_server(settings: Settings) -> None:
    database = Database(worker_pool_of(settings))
    bounds = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    assert [await shown(database, name) for name in bounds] == ["2s", "10s", "10s"]
    await database.close()


@pytest.mark.parametrize("bounded", [True, False])
async def test_the_server_asks_whether_the_other_end_is_there(settings: Settings, bounded: bool) -> None:
    database = Database(worker_pool_of(settings)) if bounded else Database(pool_of(settings))
    assert {name: await shown(database, name) for name in PROBED} == PROBED
    await database.close()


async def test_a_connection_beside_the_pool_is_probed_too_and_may_take_its_time(settings: Settings) -> None:
    database = Database(worker_pool_of(settings))
    connection = await database.connect()
    assert await connection.fetchval("SHOW tcp_keepalives_idle") == "5"
    assert await connection.fetchval("SHOW statement_timeout") == "0"
    await connection.close()
    await database.close()


async def test_whoever_folds_in_a_transaction_is_ended_before_two_leases_are_over(settings: Settings) -> None:
    assert 2 * settings.lease_seconds > FOLD_SECONDS
    database = Database(worker_pool_of(settings))
    connection = await database.connect()
    await connection.execute("BEGIN")
    await guard(connection)

    async def ended() -> bool:
        return connection.is_closed()

    await eventually(ended, 2 * settings.lease_seconds)
    await database.close()


@pytest.mark.parametrize("program", sorted(WORKERS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_worker_opens_a_pool_without_bounds(program: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(program.read_text())) if isinstance(node, ast.Call)]
    pools = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Database"]
    assert all(ast.unparse(config).startswith("worker_pool_of(") for (config,) in pools)
