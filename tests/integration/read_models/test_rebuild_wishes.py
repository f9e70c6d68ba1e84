"""Rebuilds that are asked for: rows that workers fulfil, that tell how far they are, and that outlive who asked."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from infra.eventsourcing.projections.projection import amend
from infra.eventsourcing.projections.rebuild import begin, requests
from infra.eventsourcing.projections.rebuild.requests import MOST_FAILURES, Claimed, Report
from infra.postgres.connect import connect
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from projections.registry import PROJECTIONS
from tests.integration.processes.test_workers import worker
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import expected_rows, stored_rows
from tests.support.rebuilds import GATE, at_the_gate, gate_closed, replay
from tests.support.wire import wire_to
from tests.support.write_side import eventually
from workers.job_runner import run_jobs
from workers.projections import READ_MODELS, look_for_rebuilds
from workers.rebuilds import process as rebuild_process
from workers.rebuilds.process import fulfil
from workers.rebuilds.requested import wake

pytestmark = pytest.mark.anyio

OVER = "UPDATE rebuild_wishes SET due_at = clock_timestamp(), leased_until = clock_timestamp()"


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    """A log of some orders, and a gate before it."""
    async with opened(settings) as scene:
        await scene.happens(300)
        await scene.writer.session.execute(GATE)
        yield scene


def said(scene: Scene, name: str = "said") -> str:
    return (scene.settings.data_dir / name).read_text()


async def ends(scene: Scene, process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), 60)


async def rows(scene: Scene) -> list[dict[str, Any]]:
    return [dict(row) for row in await scene.database.fetch("SELECT * FROM rebuild_wishes ORDER BY wish_id")]


async def is_rebuilt(scene: Scene, generation: int) -> None:
    """It is served from that generation, and equals the plain fold."""
    (live,) = await scene.database.fetch("SELECT live_generation FROM projections WHERE name = 'order_summary'")
    assert live[0] == generation
    expected = await expected_rows(scene.writer.session, ORDER_SUMMARY)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, generation) == expected != {}


async def is_done(scene: Scene) -> bool:
    return all(row["done_at"] for row in await rows(scene))


async def is_begun_again(scene: Scene) -> bool:
    (row,) = await rows(scene)
    return bool(row["attempts"] >= 2)


async def asked(scene: Scene) -> int:
    return await requests.ask(scene.database, ORDER_SUMMARY, "test")


async def claimed(scene: Scene) -> Claimed:
    (wish,) = await requests.claim(scene.database, PROJECTIONS, 1)
    return wish


async def test_a_worker_rebuilds_what_is_asked_for_and_the_command_tells_what_it_came_to(scene: Scene) -> None:
    async with worker(scene.settings, "projections") as process:
        await process.says("worker started")
        async with replay(scene, "order_summary", "product_card") as command:
            assert await ends(scene, command) == 0, said(scene)
    told = said(scene)
    assert "rebuilt here" not in told
    assert "order_summary is served from generation 2 now" in told
    assert "product_card is served from generation 2 now" in told
    await is_rebuilt(scene, 2)


async def test_where_no_worker_runs_the_command_rebuilds_itself_and_says_so(scene: Scene) -> None:
    async with replay(scene) as command:
        assert await ends(scene, command) == 0, said(scene)
    told = said(scene)
    assert "order_summary: no projections worker takes it, so it is rebuilt here" in told
    assert "waits for a projections worker" not in told
    assert "order_summary is served from generation 2 now" in told
    await is_rebuilt(scene, 2)


HARDLY_LOOKING = "from cli.operations import replay; replay.LOOK_SECONDS = 600.0; from cli.main import main; main()"


async def test_the_command_notices_at_once_that_what_it_carries_out_itself_has_ended(scene: Scene) -> None:
    async with replay(scene, weir=(sys.executable, "-c", HARDLY_LOOKING)) as command:
        assert await ends(scene, command) == 0, said(scene)
    await is_rebuilt(scene, 2)


async def test_a_rebuild_tells_how_far_it_is_and_the_command_shows_it(scene: Scene) -> None:
    async with replay(scene) as command:
        async with gate_closed(scene):
            await eventually(lambda: at_the_gate(scene), 30)

            async def told() -> bool:
                return "order_summary: generation 2: 0 events (0 %)" in said(scene)

            await eventually(told, 10)
            (row,) = await rows(scene)
            assert (row["generation"], row["read"], row["total"], row["done_at"]) == (2, 0, 300, None)

            async def still_seen() -> bool:
                return bool((await rows(scene))[0]["seen_at"] > row["seen_at"])

            await eventually(still_seen, 5)
        assert await ends(scene, command) == 0, said(scene)
    (row,) = await rows(scene)
    assert 0 < row["read"] <= row["total"] == row["passed"] == 300


async def test_two_who_ask_at_once_share_one_rebuild_and_are_told_the_same(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        process = await stack.enter_async_context(worker(scene.settings, "projections"))
        await process.says("worker started")
        async with gate_closed(scene):
            commands = [await stack.enter_async_context(replay(scene, said=name)) for name in ("one", "other")]

            async def both_watch() -> bool:
                return all("generation 2" in said(scene, name) for name in ("one", "other"))

            await eventually(both_watch, 30)
        for command in commands:
            assert await ends(scene, command) == 0
    one, other = (said(scene, name).splitlines()[-1] for name in ("one", "other"))
    assert one == other
    assert "order_summary is served from generation 2 now" in one
    assert len(await rows(scene)) == 1


async def test_a_worker_that_is_killed_in_the_middle_is_taken_over_from(scene: Scene) -> None:
    async with worker(scene.settings, "projections") as first, AsyncExitStack() as stack:
        await first.says("worker started")
        command = await stack.enter_async_context(replay(scene))
        async with gate_closed(scene):
            await eventually(lambda: at_the_gate(scene), 30)
            first.process.send_signal(signal.SIGKILL)
            await first.ends()
            async with worker(scene.settings, "projections"):
                # By the second, or by the command itself, where that takes longer to start than the command waits.
                await eventually(lambda: is_begun_again(scene), 60)
        # The second is killed too, in the middle or not: whoever is left fulfils the wish.
        assert await ends(scene, command) == 0, said(scene)
    (row,) = await rows(scene)
    assert row["attempts"] >= 2
    await is_rebuilt(scene, row["generation"])


async def test_a_command_that_is_killed_is_missed_by_nobody(scene: Scene) -> None:
    async with worker(scene.settings, "projections") as process, AsyncExitStack() as stack:
        await process.says("worker started")
        command = await stack.enter_async_context(replay(scene))
        async with gate_closed(scene):
            await eventually(lambda: at_the_gate(scene), 30)
            command.kill()
            await command.wait()
        await eventually(lambda: is_done(scene), 30)
    await is_rebuilt(scene, 2)


async def test_a_command_that_is_interrupted_says_that_a_worker_goes_on(scene: Scene) -> None:
    async with worker(scene.settings, "projections") as process, AsyncExitStack() as stack:
        await process.says("worker started")
        command = await stack.enter_async_context(replay(scene))
        async with gate_closed(scene):
            await eventually(lambda: at_the_gate(scene), 30)
            command.send_signal(signal.SIGINT)
            assert await ends(scene, command) == 130
        assert "order_summary goes on being rebuilt without this command" in said(scene)
        await eventually(lambda: is_done(scene), 30)
    await is_rebuilt(scene, 2)


async def test_a_command_that_is_interrupted_while_it_rebuilds_itself_wants_it_no_more(scene: Scene) -> None:
    async with replay(scene) as command, gate_closed(scene):
        await eventually(lambda: at_the_gate(scene), 30)
        command.send_signal(signal.SIGINT)
        assert await ends(scene, command) == 130
    assert "order_summary was not rebuilt, and nothing was changed" in said(scene)
    assert "Traceback" not in said(scene)
    (row,) = await rows(scene)
    assert (row["error"], row["report"]) == ("it was interrupted where it was carried out", None)


async def test_a_drain_waits_for_no_rebuild_and_gives_it_back(scene: Scene) -> None:
    async with worker(scene.settings, "projections") as process:
        await process.says("worker started")
        async with gate_closed(scene):
            await asked(scene)
            await eventually(lambda: at_the_gate(scene), 30)
            process.process.send_signal(signal.SIGTERM)
            assert await process.ends() == 0
    (row,) = await rows(scene)
    assert (row["done_at"], row["leased_until"], row["failures"]) == (None, None, 0)


async def test_what_was_asked_for_by_name_that_is_not_there_writes_nothing(scene: Scene) -> None:
    async with replay(scene, "order_summary", "no_such_model") as command:
        assert await ends(scene, command) == 2
    assert await rows(scene) == []


async def test_a_wish_for_the_fold_of_another_release_is_left_to_it(scene: Scene) -> None:
    newer = amend(ORDER_SUMMARY, version=ORDER_SUMMARY.version + 1)
    await requests.ask(scene.database, newer, "the next release")
    assert await requests.claim(scene.database, PROJECTIONS, 1) == []
    await asked(scene)
    assert len(await requests.claim(scene.database, PROJECTIONS, 2)) == 1


async def test_while_somebody_else_rebuilds_it_is_put_off(scene: Scene) -> None:
    await asked(scene)
    session = await connect(scene.settings.direct_url)
    holder = session.get_server_pid()
    try:
        await begin(session, scene.log, ORDER_SUMMARY)
        await fulfil(scene.settings, scene.database, await claimed(scene))
    finally:
        await session.close()
    (row,) = await rows(scene)
    assert (row["last_error"], row["done_at"], row["leased_until"]) == (
        "order_summary is being rebuilt already",
        None,
        None,
    )

    async def gone() -> bool:
        return not await scene.database.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", holder)

    await eventually(gone, 20)  # what it held is free only then
    await scene.database.execute(OVER)
    await fulfil(scene.settings, scene.database, await claimed(scene))
    assert await is_done(scene)


@pytest.mark.parametrize("why", ["whoever was at it dies", "it fails"])
async def test_a_rebuild_that_comes_to_nothing_again_and_again_is_given_up(scene: Scene, why: str) -> None:
    await asked(scene)
    for _ in range(MOST_FAILURES):
        wish = await claimed(scene)
        if why == "it fails":
            await requests.failed(scene.database, wish, "no room")
        await scene.database.execute(OVER)
    if why == "whoever was at it dies":
        await fulfil(scene.settings, scene.database, await claimed(scene))
    (row,) = await rows(scene)
    assert row["error"] == ("no room" if why == "it fails" else "whoever was at it died every time")
    assert row["done_at"] is not None


async def test_a_wish_is_held_until_its_process_has_told_of_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes to start: nobody else begins meanwhile, and afterwards it holds the wish itself."""
    monkeypatch.setattr(rebuild_process, "HOLD_SECONDS", 0.01)
    await requests.ask(scene.database, ORDER_SUMMARY, "somebody")
    (wish,) = await requests.claim(scene.database, PROJECTIONS, 1)
    holding = asyncio.create_task(rebuild_process.hold_until_told(scene.database, wish))

    async def held() -> bool:
        return await requests.claim(scene.database, PROJECTIONS, 1) == []

    for _ in range(3):
        await scene.database.execute(f"{OVER} - interval '1 minute' WHERE generation IS NULL")
        await eventually(lambda: _is_leased(scene))
    assert await held()
    assert await requests.tell(scene.database, wish, 2, 1, 1.0, 10)
    await asyncio.wait_for(holding, 5)
    await scene.database.execute(OVER)
    assert not await held()


async def _is_leased(scene: Scene) -> bool:
    row = await scene.database.fetchrow(
        "SELECT leased_until > clock_timestamp() + interval '5 seconds' AS leased FROM rebuild_wishes"
    )
    return bool(row and row["leased"])


async def test_who_has_lost_the_claim_writes_nothing_of_it(scene: Scene) -> None:
    await asked(scene)
    former = await claimed(scene)
    await scene.database.execute(OVER)
    await claimed(scene)
    report = Report(generation=2, retired=1, rows=0, read=0, caught_up=0, parked=0, seconds=0.0)
    before = await rows(scene)
    written = [
        await requests.tell(scene.database, former, 2, 1, 1.0, 1),
        await requests.fulfilled(scene.database, former, report),
        await requests.given_up(scene.database, former, "late"),
        await requests.failed(scene.database, former, "late"),
        await requests.give_back(scene.database, former),
        await requests.withdraw(scene.database, former.wish_id, "late"),
    ]
    assert (written, await rows(scene)) == ([False] * 6, before)


async def test_whose_wish_is_taken_from_it_stops_before_the_switch(scene: Scene) -> None:
    await asked(scene)
    wish = await claimed(scene)
    async with gate_closed(scene):
        rebuilding = asyncio.create_task(fulfil(scene.settings, scene.database, wish))
        await eventually(lambda: at_the_gate(scene), 30)
        await scene.database.execute("UPDATE rebuild_wishes SET attempts = attempts + 1")  # as another's claim does
        await asyncio.wait_for(rebuilding, 20)
    (live,) = await scene.database.fetch("SELECT live_generation FROM projections WHERE name = 'order_summary'")
    assert live[0] == 1


async def test_the_job_wakes_a_worker_and_without_redis_nobody_minds(scene: Scene) -> None:
    woken, stop = asyncio.Event(), asyncio.Event()

    class Loop:
        def wake(self) -> None:
            woken.set()

    assert [job.coroutine for job in READ_MODELS.jobs] == [look_for_rebuilds]
    async with asyncio.TaskGroup() as group:
        queue = Keyspace.of(scene.log.history).jobs("projections")
        group.create_task(run_jobs(scene.settings, queue, (), {"rebuilds": Loop()}, stop, READ_MODELS.jobs))
        await wake(scene.settings, scene.log)
        await asyncio.wait_for(woken.wait(), 10)
        stop.set()
    async with wire_to(scene.settings.redis_url.get_secret_value()) as wire:
        await wire.cut()
        await wake(scene.settings.model_copy(update={"redis_url": SecretStr(wire.url)}), scene.log)


async def test_old_wishes_are_forgotten(scene: Scene) -> None:
    await asked(scene)
    await requests.given_up(scene.database, await claimed(scene), "enough")
    await asked(scene)
    assert len(await rows(scene)) == 2
    await scene.database.execute("UPDATE rebuild_wishes SET done_at = done_at - interval '2 days'")
    await asked(scene)
    assert [row["done_at"] for row in await rows(scene)] == [None]
