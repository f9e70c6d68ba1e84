"""Turns on contested streams: one process after the other, by the order in which they came, and never a reason to wait
for somebody who has stopped.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from domain.inventory import INVENTORY
from infra.configs import pool_of
from infra.eventsourcing.commands.hot_stream_lock import PATIENCE_SECONDS, TURN_SECONDS, HotStreamLock
from infra.eventsourcing.commands.metrics import Races
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.stock import change_stock
from tests.support.write_side import WriteSide, connected, eventually, somebody_waits
from tests.support.writers import move_stock

pytestmark = pytest.mark.anyio

TAKEN = "SELECT pg_advisory_lock(hashtextextended('weir:turn', 0))"
PRODUCT = (INVENTORY, uuid4())


@asynccontextmanager
async def turns(database: Database) -> AsyncIterator[HotStreamLock]:
    """Those of one process."""
    opened = HotStreamLock(database, Races(), on_turn=lambda _names: None)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    opened = Database(pool_of(settings))
    yield opened
    await opened.close()


async def test_a_stream_is_contested_for_a_while_after_a_lost_race_and_another_is_not(database: Database) -> None:
    async with turns(database) as ours:
        assert not ours.wanted([PRODUCT])
        ours.mark_contended([PRODUCT])
        assert ours.wanted([PRODUCT])
        assert not ours.wanted([(INVENTORY, uuid4())])


async def test_two_processes_are_never_inside_at_once_and_all_who_wait_share_a_turn(database: Database) -> None:
    inside: list[str] = []
    seen: list[int] = []

    async def command(whose: HotStreamLock, name: str) -> None:
        async with whose.hold():
            inside.append(name)
            seen.append(len(set(inside)))
            await asyncio.sleep(0.001)
            inside.remove(name)

    async with turns(database) as ours, turns(database) as theirs:
        both = [(ours, "ours"), (theirs, "theirs")] * 50
        await asyncio.gather(*[command(whose, name) for whose, name in both])
    assert seen == [1] * 100


async def test_a_turn_ends_once_all_inside_are_answered(database: Database) -> None:
    async with turns(database) as ours, turns(database) as theirs:
        async with ours.hold():
            waiting = asyncio.create_task(_enter(theirs))
            await asyncio.wait([waiting], timeout=2 * TURN_SECONDS)
            assert not waiting.done()
        async with asyncio.timeout(TURN_SECONDS + 0.5):
            await waiting


async def test_who_gets_no_turn_goes_on_without(database: Database, database_url: str) -> None:
    async with connected(database_url) as stranger, turns(database) as ours:
        await stranger.execute(TAKEN)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await _enter(ours)
        assert PATIENCE_SECONDS * 0.9 < loop.time() - started < 2


async def test_without_postgres_nobody_waits_for_a_turn() -> None:
    away = Database(pool_of(Settings.model_validate({"database_url": "postgresql://localhost:1/weir"})))
    async with turns(away) as ours, asyncio.timeout(2):
        await _enter(ours)


async def test_a_client_that_hangs_up_in_the_queue_holds_nobody_up(database: Database, database_url: str) -> None:
    async with connected(database_url) as stranger, turns(database) as ours:
        await stranger.execute(TAKEN)
        leaving, staying = asyncio.create_task(_enter(ours)), asyncio.create_task(_enter(ours))
        await eventually(lambda: somebody_waits(stranger))
        leaving.cancel()
        await asyncio.wait([leaving])
        async with asyncio.timeout(2):
            await staying
            await _enter(ours)


async def test_a_process_that_is_paused_in_its_turn_loses_it(database: Database, database_url: str) -> None:
    async with connected(database_url) as connection, turns(database) as paused, turns(database) as theirs:
        async with paused.hold():
            held = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname ="
                " current_database()"
            )
            assert held == 1

            async def is_free() -> bool:
                free: bool = await connection.fetchval(TAKEN.replace("pg_advisory", "pg_try_advisory"))
                return free

            await eventually(is_free, 5)
        await connection.execute(TAKEN.replace("pg_advisory_lock", "pg_advisory_unlock"))
        await _enter(paused)
        await _enter(theirs)


async def test_two_processes_that_keep_at_one_stream_decide_hardly_anything_twice(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10_000, new=1)
    load = {"product": str(product), "writers": 20, "each": 100}
    stored = await asyncio.gather(*[move_stock(side, **load) for side in (ours, theirs)])  # type: ignore[arg-type]
    assert [len(changes) for changes in stored] == [2_000, 2_000]
    races = [side.commands.races for side in (ours, theirs)]
    assert any(each.turns for each in races)
    assert sum(each.lost for each in races) < 0.2 * sum(each.decided for each in races)


async def _enter(whose: HotStreamLock) -> None:
    async with whose.hold():
        pass
