"""Due work goes on whatever becomes of Redis, of another kind of work, or of a worker; arq's jobs only tidy up."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from arq.cron import cron
from arq.worker import func
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.configs import pool_of
from infra.errors import Unavailable
from infra.mail.outbox import Claimed, Settled
from infra.postgres.due_work import DueWork
from infra.postgres.pool import Database
from infra.redis.job_queue import Jobs, close_jobs, open_jobs, serialize
from infra.settings import Settings
from tests.support.claiming import claiming
from tests.support.mail_office import Office, mail_office
from tests.support.smtp_stub import Turn
from tests.support.wire import wire_to
from tests.support.write_side import eventually
from workers.due_loop import run_due_work
from workers.job_context import DUE_WORK, due_loops
from workers.job_runner import WatchedWorker, run_jobs, worker_options
from workers.mail.sender import AT_ONCE
from workers.tasks import TASKS

pytestmark = pytest.mark.anyio

QUEUE = "weir:0badcafe:jobs"
NOWHERE: Final = SecretStr("postgresql://127.0.0.1:1/weir")


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    async with mail_office(settings) as opened:
        yield opened


@pytest.fixture
async def jobs(office: Office) -> AsyncIterator[Jobs]:
    client = open_jobs(office.settings.jobs_url, QUEUE)
    yield client
    await close_jobs(client)


@asynccontextmanager
async def running(office: Office, done: asyncio.Event | None = None, **changed: Any) -> AsyncIterator[asyncio.Event]:
    """A worker of due work and of jobs, of which one sets ``done``; it has drained when the block ends."""
    stop = asyncio.Event()

    async def tell(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        if done is not None:
            done.set()

    settings = office.settings.model_copy(update=changed)
    job_context = await office.job_context()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_due_work(job_context["database"], due_loops(job_context).values(), stop, settings.drain_seconds)
        )
        group.create_task(run_jobs(settings, QUEUE, TASKS.cron_jobs, job_context, stop, [func(tell, name="tell")]))
        yield stop
        stop.set()


async def states(office: Office) -> set[str]:
    return {row["state"] for row in await office.database.fetch("SELECT state FROM mail_ledger")}


async def is_told(lines: Sequence[Mapping[str, Any]], event: str) -> bool:
    return any(line["event"] == event for line in lines)


async def test_a_mail_that_becomes_due_is_sent_at_once_where_the_loop_is_woken(office: Office) -> None:
    async with claiming(office.post(), office.database) as loop:
        await office.write(1)
        loop.wake()
        await office.stub.received(1)
    assert await states(office) == {"sent"}


async def test_a_mail_that_nobody_wakes_the_loop_for_is_found_at_the_next_look(office: Office) -> None:
    async with claiming(office.post(), office.database):
        for position in range(1, 4):
            await office.write(position)
            await office.stub.received(position)
    assert await states(office) == {"sent"}


async def test_many_mails_are_all_sent_by_several_workers_and_each_once(office: Office) -> None:
    mails = [await office.write(position) for position in range(101)]
    async with claiming(office.post(), office.database), claiming(office.post(), office.database):
        await office.stub.received(len(mails))
    assert await states(office) == {"sent"}
    assert len({delivery.message["Message-ID"] for delivery in office.stub.seen}) == len(mails)
    assert len(office.stub.seen) == len(mails)


async def test_of_several_mails_one_that_fails_is_put_off_and_stops_no_other(office: Office) -> None:
    broken, *whole = [await office.write(position) for position in range(4)]

    class Half:
        """A sender that fails at one mail, as it would where Postgres goes away."""

        at_once = AT_ONCE

        def __init__(self) -> None:
            self._post = office.post()

        @property
        def work(self) -> DueWork:
            return self._post.work

        async def claim(self, limit: int) -> Sequence[Claimed]:
            return await self._post.claim(limit)

        async def run(self, mail: Claimed, since: float) -> Settled:
            if mail.mail_id == broken:
                raise Unavailable("Postgres cannot be reached")
            return await self._post.run(mail, since)

    async with claiming(Half(), office.database):
        await office.stub.received(3)
    assert {(await office.row(mail_id))["state"] for mail_id in whole} == {"sent"}
    row = await office.row(broken)
    assert (row["attempts"], row["last_error"], row["leased_until"]) == (1, "Unavailable", None)
    await office.let_time_pass()
    assert await office.post().deliver(broken) == "sent"


async def test_jobs_are_json_so_nothing_that_runs_code_is_ever_read_from_redis() -> None:
    with pytest.raises(TypeError):
        serialize({"r": ValueError("pickled?")})


async def test_a_wiped_redis_loses_no_mail(office: Office, jobs: Jobs) -> None:
    async with running(office):
        for position in range(1, 6):
            await office.write(position)
        await jobs.flushall()
        await office.stub.received(5)
    assert await states(office) == {"sent"}
    assert len(office.stub.seen) == 5


async def test_without_any_redis_at_all_mail_is_sent(office: Office) -> None:
    async with wire_to(office.settings.redis_url.get_secret_value()) as wire:
        await wire.cut()
        async with running(office, redis_url=SecretStr(wire.url)):
            for position in range(1, 4):
                await office.write(position)
            await office.stub.received(3)
    assert await states(office) == {"sent"}


async def test_a_redis_that_is_out_of_memory_stops_no_mail(office: Office, jobs: Jobs) -> None:
    await jobs.config_set("maxmemory", "1")
    try:
        async with running(office):
            await office.write()
            await office.stub.received(1)
    finally:
        await jobs.config_set("maxmemory", "0")
    assert await states(office) == {"sent"}


async def test_what_is_not_due_is_left_alone(office: Office) -> None:
    later, now = await office.write(1), await office.write(2)
    await office.database.execute(
        "UPDATE mail_ledger SET due_at = now() + interval '1 minute' WHERE mail_id = $1", later
    )
    async with claiming(office.post(), office.database):
        await office.stub.received(1)
    assert [(await office.row(mail_id))["attempts"] for mail_id in (later, now)] == [0, 1]


async def test_work_that_cannot_be_claimed_because_postgres_is_away_is_claimed_when_it_is_back(office: Office) -> None:
    mail_id = await office.write()
    async with wire_to(office.settings.database_url.get_secret_value()) as wire:
        database = Database(pool_of(office.settings.model_copy(update={"database_url": SecretStr(wire.url)})))
        office.stack.push_async_callback(database.close)
        await wire.cut()
        with capture_logs() as told:
            async with claiming(office.post(database=database), database):
                await eventually(lambda: is_told(told, "due work cannot be claimed"))
                assert office.stub.seen == []
                await wire.mend()
                await office.stub.received(1)
    row = await office.row(mail_id)
    assert (row["state"], row["attempts"]) == ("sent", 1)


async def test_a_job_of_the_cron_leaves_what_a_server_keeps_it_from_to_the_next_one(settings: Settings) -> None:
    """Which is told in a line; a fault of its own is told whole."""
    database = Database(pool_of(settings.model_copy(update={"database_url": NOWHERE})))
    options = worker_options(settings, QUEUE, [cron(asks_the_database), cron(wants_a_thread)])
    asking, threaded = [each.coroutine for each in options["cron_jobs"]]
    try:
        with capture_logs() as told:
            await asking({"database": database})
            await threaded({})
        assert [(line["log_level"], line["event"], line["task"]) for line in told] == [
            ("warning", "cannot go on for now", "asks_the_database"),
            ("warning", "cannot go on for now", "wants_a_thread"),
        ]
        with pytest.raises(KeyError):
            await asking({})
    finally:
        await close_jobs(options["redis_pool"])
        await database.close()


async def wants_a_thread(ctx: dict[Any, Any]) -> None:
    """As Python tells it where there are too many."""
    raise RuntimeError("can't start new thread")


async def asks_the_database(ctx: dict[Any, Any]) -> None:
    await ctx["database"].fetch("SELECT")


async def test_a_clock_that_was_set_costs_one_run_of_what_is_done_once_a_minute(office: Office, jobs: Jobs) -> None:
    async def tidy(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        """It is never run here."""

    options = worker_options(office.settings, QUEUE, [cron(tidy, second={17})])
    worker = WatchedWorker(**options, handle_signals=False)
    noon, day = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(days=1)
    for moment in (noon, noon + day, noon + day + HALF_A_SECOND, noon + day + 2 * HALF_A_SECOND):
        await worker.run_cron(moment, 0.5)
    assert await jobs.zcard(QUEUE) == 1, "the day that was passed over has 1,440 minutes"
    for moment in (noon - day, noon - day + timedelta(seconds=17)):
        await worker.run_cron(moment, 0.5)
    assert await jobs.zcard(QUEUE) == 2, "it does not wait for two days"
    await close_jobs(worker.pool)


HALF_A_SECOND = timedelta(seconds=0.5)


async def test_a_worker_lives_through_the_loss_of_redis(office: Office) -> None:
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(wire_to(office.settings.redis_url.get_secret_value()))
        await stack.enter_async_context(running(office, redis_url=SecretStr(wire.url)))
        await office.write(1)
        await office.stub.received(1)
        with capture_logs() as told:
            await wire.cut()
            await office.write(2)
            await eventually(lambda: is_told(told, "jobs wait for Redis"), seconds=20)
        await wire.mend()
        await office.stub.received(2)
    assert await states(office) == {"sent"}


def job(function: Any) -> bytes:
    return serialize({"t": None, "f": function, "a": [], "k": {}, "et": 1})


async def an_entry_that_is_no_text(jobs: Jobs) -> None:
    await jobs.zadd(QUEUE, {b"\xff": 1})


async def an_entry_since_ever(jobs: Jobs) -> None:
    await jobs.set("arq:job:bad", job("tell"))
    await jobs.zadd(QUEUE, {"bad": float("-inf")})


async def a_function_that_is_a_list(jobs: Jobs) -> None:
    await jobs.set("arq:job:bad", job(["tell"]))
    await jobs.zadd(QUEUE, {"bad": 1})


async def a_job_that_is_a_set(jobs: Jobs) -> None:
    await jobs.zadd("arq:job:bad", {"secret": 1})
    await jobs.zadd(QUEUE, {"bad": 1})


async def tries_that_are_no_number(jobs: Jobs) -> None:
    await jobs.set("arq:job:bad", job("tell"))
    await jobs.set("arq:retry:bad", "secret")
    await jobs.zadd(QUEUE, {"bad": 1})


async def a_queue_that_is_a_string(jobs: Jobs) -> None:
    await jobs.set(QUEUE, "secret")


BAD: Final = (
    an_entry_that_is_no_text,
    an_entry_since_ever,
    a_function_that_is_a_list,
    a_job_that_is_a_set,
    tries_that_are_no_number,
    a_queue_that_is_a_string,
)


@pytest.mark.parametrize("put", BAD, ids=lambda put: put.__name__)
async def test_what_no_job_can_be_read_from_is_dropped_and_stops_nothing(office: Office, jobs: Jobs, put: Any) -> None:
    done = asyncio.Event()
    await put(jobs)
    with capture_logs() as told:
        async with running(office, done):
            await eventually(lambda: is_told(told, "jobs cannot be read, and are dropped"))
            await office.write(1)
            await office.stub.received(1)
            # By the name that the bad one had: nothing of that one is in the way.
            assert await jobs.enqueue_job("tell", _job_id="bad") is not None
            await asyncio.wait_for(done.wait(), 10)
    assert await states(office) == {"sent"}
    assert [line["event"] for line in told].count("jobs cannot be read, and are dropped") == 1
    assert not any("secret" in str(line) or "bad" in str(line) for line in told)


async def test_an_entry_whose_job_redis_has_lost_is_passed_over_without_a_traceback(
    office: Office, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    await jobs.zadd(QUEUE, {"bad": 1})
    done = asyncio.Event()
    async with running(office, done):
        assert await jobs.enqueue_job("tell", _job_id="good") is not None
        await asyncio.wait_for(done.wait(), 10)

        async def is_passed_over() -> bool:
            return await jobs.zscore(QUEUE, "bad") is None

        await eventually(is_passed_over)
    assert "job bad expired" in caplog.messages
    assert [record.message for record in caplog.records if record.exc_info] == []


async def test_a_drain_finishes_the_mail_in_hand_and_takes_no_other(office: Office) -> None:
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    first = await office.write(1)
    async with running(office) as stop:
        await turn.has_message.wait()
        stop.set()
        second = await office.write(2)
        hold.set()
    assert (await office.row(first))["state"] == "sent"
    # A claim may have been on its way when the drain began; its mail was then finished too.
    assert (await office.row(second))["state"] in {"due", "sent"}


async def test_a_drain_ends_when_its_time_is_over_and_the_mail_is_another_workers_later(office: Office) -> None:
    mail_id = await office.write()
    office.stub.turns.append(turn := Turn(hold=asyncio.Event()))
    async with asyncio.timeout(5):
        async with running(office, drain_seconds=0.2):
            await turn.has_message.wait()
    assert (await office.row(mail_id))["state"] == "sending"
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) == "sent"


async def test_each_kind_of_due_work_has_a_loop_and_slots_of_its_own(office: Office) -> None:
    job_context = await office.job_context()
    loops = due_loops(job_context)
    assert set(loops) == set(DUE_WORK)
    assert len({id(loop) for loop in loops.values()}) == len(DUE_WORK)
    assert len({job_context[name].work.table for name in DUE_WORK}) == len(DUE_WORK)


async def test_two_logs_in_one_redis_have_their_own_sweeps(office: Office) -> None:
    ours, theirs = (worker_options(office.settings, queue, TASKS.cron_jobs) for queue in (QUEUE, "weir:deadbeef:jobs"))
    assert {job.name for job in ours["cron_jobs"]}.isdisjoint(job.name for job in theirs["cron_jobs"])
    assert ours["queue_name"] != theirs["queue_name"]
    for options in (ours, theirs):
        await close_jobs(options["redis_pool"])


async def test_arqs_own_command_does_what_is_due(office: Office) -> None:
    mails: list[UUID] = [await office.write(position) for position in range(1, 4)]
    environment = {
        **os.environ,
        "DATABASE_URL": office.settings.database_url.get_secret_value(),
        "REDIS_URL": office.settings.redis_url.get_secret_value(),
        "WEIR_SMTP_URL": office.stub.url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", "workers.tasks.WorkerSettings"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await office.stub.received(len(mails), seconds=30)
    finally:
        process.terminate()
        told, _ = await process.communicate()
    assert {delivery.message["Message-ID"] for delivery in office.stub.seen} == {
        f"<{mail_id.hex}@weir.example>" for mail_id in mails
    }, told.decode()


async def test_importing_the_worker_opens_nothing_and_reads_no_settings() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import workers.main, workers.tasks, workers.projections; print('imported')"),
        env={**os.environ, "WEIR_POOL_SIZE": "not a number", "DATABASE_URL": "nonsense"},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert told == b"imported\n"
