"""A kind of worker is the same under arq's own command and under ``weir worker``, which needs no Redis for it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.startup import open_log
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.integration.mail.test_reactions import append
from tests.integration.processes.test_workers import Process, launched, worker
from tests.support.builders import order_placed
from tests.support.mail_office import Office, mail_office
from tests.support.smtp_stub import Turn
from tests.support.wire import wire_to
from tests.support.write_side import connected, eventually, write_side
from workers.main import KINDS, parts_of
from workers.projections import READ_MODELS, look_for_spoiled
from workers.relay import run_relay
from workers.tasks import TASKS

pytestmark = pytest.mark.anyio

RUNTIMES = {runtime.name: runtime for runtime in (READ_MODELS, TASKS)}


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    """A shop that knows Ada, and whose read models are laid down."""
    async with connected(settings.database_url.get_secret_value()) as session:
        await install(session, PROJECTIONS)
    async with mail_office(settings.model_copy(update={"lease_seconds": 1.0})) as opened:
        await opened.acquaint()
        yield opened


def arq(settings: Settings, kind: str, *options: str) -> AbstractAsyncContextManager[Process]:
    """arq's own command."""
    return launched(settings, "arq", f"workers.{kind}.WorkerSettings", *options)


async def order_is_placed(office: Office) -> None:
    async with write_side(office.settings.database_url.get_secret_value()) as log:
        await append(log, order_placed().order_id, 0, order_placed())


async def is_read(office: Office) -> bool:
    return bool(await office.database.fetch("SELECT FROM rm_order_summary_1"))


async def is_at_work(office: Office, kind: str) -> None:
    """Each of its consumers has applied an order, and what was due for it is done."""
    if kind == "projections":
        await eventually(lambda: is_read(office), seconds=30)
    else:
        await office.stub.received(1, seconds=30)


async def nobody_is_left(office: Office) -> None:
    assert await office.database.fetch("SELECT FROM workers") == [], "it has said goodbye"
    assert await office.database.fetch("SELECT FROM checkpoints WHERE owner IS NOT NULL") == []


@pytest.mark.parametrize("kind", RUNTIMES)
async def test_arqs_own_command_runs_a_kind_whole_and_drains_it(office: Office, kind: str) -> None:
    await order_is_placed(office)
    async with arq(office.settings, kind) as process:
        await is_at_work(office, kind)
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == 0, "\n".join(str(line["event"]) for line in process.told)
    await nobody_is_left(office)


@pytest.mark.parametrize("kind", RUNTIMES)
async def test_weir_worker_runs_a_kind_whole_and_drains_it_though_there_is_no_redis(office: Office, kind: str) -> None:
    await order_is_placed(office)
    async with wire_to(office.settings.redis_url.get_secret_value()) as wire:
        await wire.cut()
        behind = office.settings.model_copy(update={"redis_url": SecretStr(wire.url)})
        async with worker(behind, kind) as process:
            await is_at_work(office, kind)
            process.process.send_signal(signal.SIGTERM)
            assert await process.ends() == 0, "\n".join(str(line["event"]) for line in process.told)
    await nobody_is_left(office)


@pytest.mark.parametrize("kind", RUNTIMES)
async def test_arqs_own_check_finds_a_worker_of_its_kind_and_no_other(office: Office, kind: str) -> None:
    (other,) = set(RUNTIMES) - {kind}
    await order_is_placed(office)
    async with arq(office.settings, kind):
        await is_at_work(office, kind)
        for asked, code in ((kind, 0), (other, 1)):
            async with arq(office.settings, asked, "--check") as check:
                assert await check.ends() == code, check.told


async def test_arqs_own_command_finishes_the_mail_in_hand(office: Office) -> None:
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    mail_id = await office.write()
    async with arq(office.settings, "tasks") as process:
        await asyncio.wait_for(turn.has_message.wait(), 30)
        process.process.send_signal(signal.SIGTERM)
        await process.says("worker drains")
        hold.set()
        assert await process.ends() == 0, "\n".join(str(line["event"]) for line in process.told)
    assert (await office.row(mail_id))["state"] == "sent"


async def test_work_that_fails_ends_arqs_own_command_too(office: Office) -> None:
    await order_is_placed(office)
    async with arq(office.settings, "projections") as process:
        await is_at_work(office, "projections")
        await office.database.execute("UPDATE log_head SET log_id = gen_random_uuid()")
        assert await process.ends() == 1
    assert any("OtherLog" in str(line) for line in process.told)


async def served(office: Office) -> int:
    (row,) = await office.database.fetch("SELECT live_generation FROM projections WHERE name = 'order_summary'")
    generation: int = row[0]
    return generation


async def test_a_spoiled_read_model_is_made_anew_when_the_job_says_so(office: Office) -> None:
    await office.database.execute("UPDATE generations SET code_version = 0 WHERE projection = 'order_summary'")
    async with AsyncExitStack() as stack:
        database = Database(pool_of(office.settings))
        stack.push_async_callback(database.close)
        log, stop = await open_log(database, CODEC), asyncio.Event()
        context, work = await READ_MODELS.open(stack, office.settings, database, log, CollectorRegistry())
        async with asyncio.TaskGroup() as group:
            group.create_task(work(stop))
            await look_for_spoiled(context)

            async def is_made_anew() -> bool:
                return await served(office) == 2

            await eventually(is_made_anew, seconds=20)
            stop.set()


@pytest.mark.parametrize(
    ("kind", "jobs"),
    [
        ("projections", {"look_for_spoiled"}),
        ("tasks", {"forget_old_rows", "sweep_images", "tidy_imports", "renew_snapshots"}),
    ],
)
def test_what_is_done_once_for_all_processes_is_arqs_cron(kind: str, jobs: set[str]) -> None:
    assert {job.coroutine.__qualname__ for job in RUNTIMES[kind].cron_jobs} == jobs
    assert all(job.unique and job.timeout_s for job in RUNTIMES[kind].cron_jobs)


def test_weir_worker_runs_the_same_kinds() -> None:
    assert {"relay": run_relay, **{name: each.run for name, each in RUNTIMES.items()}} == parts_of(KINDS)


@pytest.mark.parametrize("kind", ["tasks", "projections"])
def test_arqs_own_command_tells_of_wrong_settings_and_ends_with_2_too(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_ADMIN_PASSWORD", "password")
    ended = subprocess.run(
        [sys.executable, "-m", "arq", f"workers.{kind}.WorkerSettings"],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[1:] == ["WEIR_ADMIN_PASSWORD (not shown): is one that everybody tries first"]
