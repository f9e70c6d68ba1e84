"""Jobs only wake the sender: whatever becomes of them, the ledger is worked off."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from infra.database import Database
from infra.errors import Unavailable
from infra.jobs import Jobs, close_jobs, open_jobs, serialize
from infra.mail_ledger import Settled
from infra.mailer import Mailer
from infra.settings import Settings
from tests.mail_office import Office, mail_office
from tests.smtp_stub import Turn
from tests.wire import wire_to
from tests.write_side import eventually
from workers.jobs import MOST_JOBS, POLL_SECONDS, run_jobs, worker_options
from workers.mail import ENOUGH_JOBS, MAILS_PER_JOB, MailMetrics, Post, send_mails, wake

pytestmark = pytest.mark.anyio

QUEUE = "weir:0badcafe:jobs"


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
async def running(office: Office, **changed: Any) -> AsyncIterator[asyncio.Event]:
    """A worker of jobs; it has drained when the block ends."""
    stop = asyncio.Event()
    settings = office.settings.model_copy(update=changed)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_jobs(settings, QUEUE, await office.hands(), stop))
        yield stop
        stop.set()


async def states(office: Office) -> set[str]:
    return {row["state"] for row in await office.database.fetch("SELECT state FROM mail_ledger")}


async def is_told(lines: Sequence[Mapping[str, Any]], event: str) -> bool:
    return any(line["event"] == event for line in lines)


async def test_a_mail_whose_sender_is_woken_is_sent(office: Office, jobs: Jobs) -> None:
    mail_id = await office.write()
    async with running(office):
        await wake(jobs, [(mail_id, 0)])
        await office.stub.received(1)
    assert await states(office) == {"sent"}


async def test_a_job_holds_the_ids_of_its_mails_and_nothing_else_of_them(office: Office, jobs: Jobs) -> None:
    mails = [await office.write(position) for position in range(3)]
    await wake(jobs, [(mail_id, 0) for mail_id in mails])
    (key,) = await jobs.keys("arq:job:*")
    stored = await jobs.get(key)
    assert orjson.loads(stored)["a"] == [[str(mail_id) for mail_id in mails]]
    assert b"ada" not in stored
    assert b"W-1" not in stored


async def test_many_mails_take_few_jobs_and_are_all_sent(office: Office, jobs: Jobs) -> None:
    mails = [await office.write(position) for position in range(2 * MAILS_PER_JOB + 1)]
    await wake(jobs, [(mail_id, 0) for mail_id in mails])
    assert await jobs.zcard(QUEUE) == 3
    async with running(office):
        await office.stub.received(len(mails))
    assert await states(office) == {"sent"}
    assert len({delivery.message["Message-ID"] for delivery in office.stub.seen}) == len(mails)
    assert len(office.stub.seen) == len(mails)


async def test_a_job_of_which_one_mail_cannot_be_claimed_sends_the_others_and_fails(office: Office) -> None:
    broken, *whole = [await office.write(position) for position in range(4)]

    class Half(Post):
        async def deliver(self, mail_id: UUID) -> Settled | None:
            if mail_id == broken:
                raise Unavailable("Postgres cannot be reached")
            await asyncio.sleep(0.05)
            return await super().deliver(mail_id)

    mailer = Mailer(office.settings.smtp_url, helo="weir.example")
    post = Half(office.database, mailer, office.settings, MailMetrics(CollectorRegistry()))
    with pytest.raises(Unavailable):
        await send_mails({"post": post}, [str(mail_id) for mail_id in (broken, *whole)])
    assert {(await office.row(mail_id))["state"] for mail_id in whole} == {"sent"}
    await mailer.close()


async def test_jobs_are_json_so_nothing_that_runs_code_is_ever_read_from_redis() -> None:
    with pytest.raises(TypeError):
        serialize({"r": ValueError("pickled?")})


async def test_a_mail_has_one_job_at_a_time_however_often_it_is_woken(office: Office, jobs: Jobs) -> None:
    mail_id = await office.write()
    for _ in range(3):
        await wake(jobs, [(mail_id, 0)])
    # The clock may pass from one ten seconds to the next between two calls, which makes a second job.
    assert await jobs.zcard(QUEUE) <= 2
    async with running(office):
        await office.stub.received(1)
    assert len(office.stub.seen) == 1


async def test_mails_that_nobody_was_woken_for_are_found_by_the_sweep(office: Office) -> None:
    for position in range(1, 4):
        await office.write(position)
    async with running(office):
        await office.stub.received(3)
    assert await states(office) == {"sent"}


async def test_a_wiped_redis_loses_no_mail(office: Office, jobs: Jobs) -> None:
    mails = [await office.write(position) for position in range(1, 6)]
    await wake(jobs, [(mail_id, 0) for mail_id in mails])
    await jobs.flushall()
    assert await office.post().sweep(jobs) == 5
    async with running(office):
        await office.stub.received(5)
    assert await states(office) == {"sent"}
    assert len(office.stub.seen) == 5


async def test_a_sweep_leaves_alone_what_is_not_due(office: Office, jobs: Jobs) -> None:
    await office.write()
    await office.database.execute("UPDATE mail_ledger SET due_at = now() + interval '1 minute'")
    assert await office.post().sweep(jobs) == 0
    assert await jobs.zcard(QUEUE) == 0


async def test_a_sweep_is_bounded_and_does_not_pile_jobs_upon_jobs(office: Office, jobs: Jobs) -> None:
    await office.database.execute(
        "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id)"
        " SELECT gen_random_uuid(), n, 'shipping_notice', 'ada@example.com', '{}', '' FROM generate_series(1, 600) n"
    )
    post = office.post()
    assert await post.sweep(jobs) == 500
    assert await jobs.zcard(QUEUE) == 500 / MAILS_PER_JOB
    for number in range(ENOUGH_JOBS):
        await jobs.enqueue_job("send_mails", [], _job_id=f"other:{number}")
    assert await post.sweep(jobs) == 0, "the queue is long enough"


async def test_a_job_that_fails_because_postgres_is_away_is_made_again(office: Office, jobs: Jobs) -> None:
    mail_id = await office.write()
    async with wire_to(office.settings.database_url.get_secret_value()) as wire:
        database = Database(office.settings.model_copy(update={"database_url": SecretStr(wire.url)}))
        office.stack.push_async_callback(database.close)
        stop = asyncio.Event()
        hands = await office.hands(database=database)
        await wire.cut()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_jobs(office.settings, QUEUE, hands, stop))
            await wake(jobs, [(mail_id, 0)])
            while await jobs.zcard(QUEUE):  # noqa: ASYNC110 - the job fails in its own time
                await asyncio.sleep(0.01)
            assert office.stub.seen == []
            await wire.mend()
            await office.stub.received(1)
            stop.set()
    row = await office.row(mail_id)
    assert (row["state"], row["attempts"]) == ("sent", 1)


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


async def test_a_drain_finishes_the_mail_in_hand_and_takes_no_other(office: Office, jobs: Jobs) -> None:
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    first, second = await office.write(1), await office.write(2)
    async with running(office) as stop:
        await wake(jobs, [(first, 0)])
        await turn.has_message.wait()
        stop.set()
        await wake(jobs, [(second, 0)])
        asyncio.get_running_loop().call_later(3 * POLL_SECONDS, hold.set)
    assert (await office.row(first))["state"] == "sent"
    # The sweep may have begun with the second mail before the drain; it was then finished too.
    assert (await office.row(second))["state"] in {"due", "sent"}


async def test_a_drain_ends_when_its_time_is_over_and_the_mail_is_another_workers_later(
    office: Office, jobs: Jobs
) -> None:
    mail_id = await office.write()
    office.stub.turns.append(turn := Turn(hold=asyncio.Event()))
    async with asyncio.timeout(5):
        async with running(office, drain_seconds=0.2):
            await wake(jobs, [(mail_id, 0)])
            await turn.has_message.wait()
    assert (await office.row(mail_id))["state"] == "sending"
    await office.let_time_pass()
    assert await office.post().deliver(mail_id) == "sent"


async def test_the_job_of_a_killed_worker_blocks_its_mail_for_seconds_not_minutes(office: Office, jobs: Jobs) -> None:
    mail_id = await office.write()
    await wake(jobs, [(mail_id, 0)])
    (key,) = await jobs.keys("arq:job:*")
    await jobs.set(key.replace(b"arq:job:", b"arq:in-progress:"), b"1", px=130_000)
    async with running(office):
        await office.stub.received(1, seconds=25)
    assert (await office.row(mail_id))["state"] == "sent"


async def test_two_logs_in_one_redis_have_their_own_sweeps(office: Office) -> None:
    ours, theirs = (worker_options(office.settings, queue) for queue in (QUEUE, "weir:deadbeef:jobs"))
    assert {job.name for job in ours["cron_jobs"]}.isdisjoint(job.name for job in theirs["cron_jobs"])
    assert ours["queue_name"] != theirs["queue_name"]
    for options in (ours, theirs):
        await close_jobs(options["redis_pool"])


def test_a_poll_starts_enough_jobs_for_the_rate_that_is_promised() -> None:
    assert MOST_JOBS / POLL_SECONDS >= 200


async def test_arqs_own_command_runs_the_jobs_alone(office: Office) -> None:
    mails: list[UUID] = [await office.write(position) for position in range(1, 4)]
    environment = {
        **os.environ,
        "DATABASE_URL": office.settings.database_url.get_secret_value(),
        "REDIS_URL": office.settings.redis_url.get_secret_value(),
        "WEIR_SMTP_URL": office.stub.url,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "arq", "workers.main.WorkerSettings"),
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
        *(sys.executable, "-c", "import workers.main, workers.jobs; print('imported')"),
        env={**os.environ, "WEIR_POOL_SIZE": "not a number", "DATABASE_URL": "nonsense"},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert told == b"imported\n"
