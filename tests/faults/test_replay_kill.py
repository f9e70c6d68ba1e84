"""Rebuilds that are killed or given up: nothing of them lives on, and the next one need not wait."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from tests.consumers import Scene, scene
from tests.event_logs import expected_rows, stored_rows
from tests.write_side import connected, eventually
from workers.projections import make_anew

pytestmark = pytest.mark.anyio

GONE_SECONDS = 5
"""The kernel ends processes at once; a server in the middle of a statement notices within a second."""

GATE = """
CREATE TABLE gate ();
CREATE FUNCTION past_gate() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() ~ 'COPY' THEN LOCK TABLE gate IN ACCESS SHARE MODE; END IF;
    RETURN true;
END $$;
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY through_the_gate ON events USING (past_gate());
"""
"""Whoever copies events waits at the gate, which somebody may hold."""


@asynccontextmanager
async def replay(scene: Scene) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own. What it says goes to a file: who is left behind would hold a pipe."""
    settings = scene.settings
    with (settings.data_dir / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("weir")),
            "replay",
            "order_summary",
            "--yes",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={
                **os.environ,
                "DATABASE_URL": settings.database_url.get_secret_value(),
                "REDIS_URL": settings.redis_url.get_secret_value(),
            },
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def holding(scene: Scene, lock: str) -> AsyncIterator[None]:
    async with connected(scene.settings.database_url.get_secret_value()) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {lock} MODE")
        yield


async def waiting(scene: Scene, statement: str, count: int) -> bool:
    rows = await scene.database.fetch(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query ~ $1",
        statement,
    )
    return len(rows) == count


async def nobody_has_the_right_to_rebuild(scene: Scene) -> bool:
    return not await scene.database.fetch(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def ended(processes: Sequence[psutil.Process]) -> bool:
    return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def kill(scene: Scene, process: asyncio.subprocess.Process, builders: int) -> None:
    """Kills the command; whatever it was in the middle of is over soon."""
    children = psutil.Process(process.pid).children()
    assert len(children) == builders
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    await eventually(lambda: nobody_has_the_right_to_rebuild(scene), GONE_SECONDS)
    await eventually(lambda: ended(children), GONE_SECONDS)


async def rebuilt(scene: Scene) -> None:
    async with replay(scene) as process:
        code = await asyncio.wait_for(process.wait(), 30)
        assert code == 0, (scene.settings.data_dir / "said").read_text()
    expected = await expected_rows(scene.writer.session, ORDER_SUMMARY)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 3) == expected


async def test_a_replay_that_is_killed_while_it_builds_leaves_nothing_behind(settings: Settings) -> None:
    async with scene(settings) as shop:
        await shop.happens(300)
        await shop.writer.session.execute(GATE)
        async with replay(shop) as process, holding(shop, "gate IN ACCESS EXCLUSIVE"):
            processors = os.cpu_count() or 1
            await eventually(lambda: waiting(shop, "^COPY", processors), 30)
            await kill(shop, process, processors)
        await rebuilt(shop)


async def test_a_replay_that_is_killed_in_the_middle_of_an_index_is_no_hindrance(settings: Settings) -> None:
    async with scene(settings) as shop, AsyncExitStack() as stack:
        await shop.happens(300)
        await shop.writer.session.execute(GATE)
        async with replay(shop) as process:
            async with holding(shop, "gate IN ACCESS EXCLUSIVE"):
                await eventually(lambda: waiting(shop, "^COPY", os.cpu_count() or 1), 30)
                await stack.enter_async_context(holding(shop, "rm_order_summary_2 IN ACCESS SHARE"))
            await eventually(lambda: waiting(shop, "^ALTER TABLE", 1), 30)
            await kill(shop, process, 0)
        await rebuilt(shop)


async def test_a_worker_rebuilds_in_a_process_of_its_own_which_ends_when_the_worker_gives_it_up(
    settings: Settings,
) -> None:
    async with scene(settings) as shop:
        await shop.happens(300)
        await shop.writer.session.execute(GATE)
        await shop.database.execute("UPDATE generations SET code_version = 0 WHERE projection = 'order_summary'")
        async with holding(shop, "gate IN ACCESS EXCLUSIVE"):
            making = asyncio.create_task(make_anew(settings))
            await eventually(lambda: waiting(shop, "^COPY", 1), 30)
            assert gc.isenabled(), "as it is not where events are folded in bulk"
            builders = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
            making.cancel()
            await asyncio.wait([making])
            await eventually(lambda: nobody_has_the_right_to_rebuild(shop), GONE_SECONDS)
            assert len(builders) == 1
            assert await ended(builders)
        await make_anew(settings)
        expected = await expected_rows(shop.writer.session, ORDER_SUMMARY)
        assert await stored_rows(shop.writer.session, ORDER_SUMMARY, 3) == expected
