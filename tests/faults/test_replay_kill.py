"""Rebuilds that are killed or given up: nothing of them lives on, and the next one need not wait."""

import asyncio
import gc
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

import psutil
import pytest

from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from tests.support.consumers import Scene, scene
from tests.support.event_logs import expected_rows, stored_rows
from tests.support.rebuilds import GATE, at_the_gate, gate_closed, holding, replay, waiting
from tests.support.write_side import eventually
from workers.rebuilds.requested import Rebuilds, want_spoiled

pytestmark = pytest.mark.anyio

GONE_SECONDS = 5
"""The kernel ends processes at once; a server in the middle of a statement notices within a second."""


async def nobody_has_the_right_to_rebuild(scene: Scene) -> bool:
    return not await scene.database.fetch(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def ended(processes: Sequence[psutil.Process]) -> bool:
    return not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def kill(scene: Scene, process: asyncio.subprocess.Process, builders: int) -> None:
    """Kills the command; whatever it was in the middle of is over soon, in the process that rebuilds, and in those it
    has build.
    """
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == builders + 1, "and nothing that spawning would have started beside it"
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
            await eventually(lambda: waiting(shop, "CASE WHEN type", processors), 30)
            await kill(shop, process, processors)
        await rebuilt(shop)


async def test_a_replay_that_is_killed_in_the_middle_of_its_indexes_is_no_hindrance(settings: Settings) -> None:
    """They are made side by side, and none goes on without it."""
    async with scene(settings) as shop, AsyncExitStack() as stack:
        await shop.happens(300)
        await shop.writer.session.execute(GATE)
        async with replay(shop) as process:
            processors = os.cpu_count() or 1
            async with holding(shop, "gate IN ACCESS EXCLUSIVE"):
                await eventually(lambda: waiting(shop, "CASE WHEN type", processors), 30)
                await stack.enter_async_context(holding(shop, "rm_order_summary_2 IN ROW EXCLUSIVE"))
            at_once = min(processors, 1 + len(ORDER_SUMMARY.indexes))
            await eventually(lambda: waiting(shop, "^CREATE (UNIQUE )?INDEX", at_once), 30)
            await kill(shop, process, 0)
            await eventually(lambda: waiting(shop, "INDEX", 0), GONE_SECONDS)
            await stack.aclose()
        await rebuilt(shop)


async def test_a_worker_rebuilds_in_a_process_of_its_own_which_ends_when_the_worker_gives_it_up(
    settings: Settings,
) -> None:
    async with scene(settings) as shop:
        await shop.happens(300)
        await shop.writer.session.execute(GATE)
        await shop.database.execute("UPDATE generations SET code_version = 0 WHERE projection = 'order_summary'")
        rebuilds = Rebuilds(settings, shop.database)
        assert await want_spoiled(shop.database)
        async with gate_closed(shop):
            (wish,) = await rebuilds.claim(1)
            making = asyncio.create_task(rebuilds.run(wish, 0.0))
            await eventually(lambda: at_the_gate(shop), 30)
            assert gc.isenabled(), "as it is not where events are folded in bulk"
            processes = psutil.Process().children(recursive=True)
            builders = [each for each in processes if "spawn_main" in " ".join(each.cmdline())]
            making.cancel()
            await asyncio.wait([making])
            await eventually(lambda: nobody_has_the_right_to_rebuild(shop), GONE_SECONDS)
            assert len(builders) == 1 + (os.cpu_count() or 1)
            await eventually(lambda: ended(builders), GONE_SECONDS)
        (wish,) = await rebuilds.claim(1)
        await rebuilds.run(wish, 0.0)
        expected = await expected_rows(shop.writer.session, ORDER_SUMMARY)
        assert await stored_rows(shop.writer.session, ORDER_SUMMARY, 3) == expected
