"""The process that hosts workers: how it starts, says how it is, drains, and refuses to live half dead."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.settings import Settings
from tests.integration.mail.test_reactions import append
from tests.support.builders import order_placed
from tests.support.encryption import KEY
from tests.support.mail_office import Office, mail_office
from tests.support.smtp_stub import Turn
from tests.support.wire import wire_to
from tests.support.write_side import connected, eventually, write_side
from workers.mail.sender import conversation_seconds
from workers.main import KINDS, parts_of, run_worker
from workers.parts import OtherLog, PartEnded, run_parts

pytestmark = pytest.mark.anyio

DRAIN_SECONDS = 5.0
SLOW_SECONDS = conversation_seconds(DRAIN_SECONDS) / 2
"""How long a slow server takes for its answer: a conversation lasts longer."""


@pytest.fixture
async def office(settings: Settings) -> AsyncIterator[Office]:
    async with mail_office(settings.model_copy(update={"lease_seconds": 1.0})) as opened:
        yield opened


def environment(settings: Settings) -> dict[str, str]:
    """What a worker process of this test is told."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("WEIR_")},
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEIR_SMTP_URL": settings.smtp_url.get_secret_value(),
        "WEIR_ENV_FILE": "",
        "WEIR_ENCRYPTION_KEYS": KEY,
        "WEIR_LEASE_SECONDS": "1",
        "WEIR_DRAIN_SECONDS": str(DRAIN_SECONDS),
    }


class Process:
    """A ``weir worker`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, object]] = []

    async def says(self, event: str, seconds: float = 30) -> dict[str, object]:
        """The first log line from here on that is about ``event``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self.process.stdout.readline():
                self.told.append(orjson.loads(line) if line.startswith(b"{") else {"event": line.decode()})
                if self.told[-1]["event"] == event:
                    return self.told[-1]
        raise AssertionError(f"never said {event!r}: {self.told}")

    async def ends(self, seconds: float = 20) -> int:
        """Its exit code."""
        async with asyncio.timeout(seconds):
            told, _ = await self.process.communicate()
            self.told += [{"event": line.decode()} for line in told.splitlines()]
        code = self.process.returncode
        assert code is not None
        return code


def worker(settings: Settings, *kinds: str) -> AbstractAsyncContextManager[Process]:
    """``weir worker``."""
    return launched(settings, "cli.main", "worker", *kinds)


@asynccontextmanager
async def launched(settings: Settings, module: str, *arguments: str) -> AsyncIterator[Process]:
    """A command of the environment, until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def answers(client: httpx2.AsyncClient, url: str, status: int) -> bool:
    return (await client.get(url)).status_code == status


async def tells(client: httpx2.AsyncClient, url: str, what: str) -> bool:
    return what in (await client.get(url)).text


async def until_stopped(_settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
    await stop.wait()


async def test_a_part_that_fails_ends_all_others_and_the_process(settings: Settings) -> None:
    ended = asyncio.Event()

    async def neighbour(_settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
        try:
            await stop.wait()
        finally:
            ended.set()

    async def failing(_settings: Settings, _registry: CollectorRegistry, _stop: asyncio.Event) -> None:
        raise LookupError

    with pytest.raises(ExceptionGroup) as failure:
        await run_parts([neighbour, failing], settings, CollectorRegistry(), asyncio.Event())
    assert failure.group_contains(LookupError)
    assert ended.is_set()


async def test_a_part_that_ends_unasked_has_failed(settings: Settings) -> None:
    async def content(_settings: Settings, _registry: CollectorRegistry, _stop: asyncio.Event) -> None:
        return

    with pytest.raises(ExceptionGroup) as failure:
        async with asyncio.timeout(5):
            await run_parts([until_stopped, content], settings, CollectorRegistry(), asyncio.Event())
    assert failure.group_contains(PartEnded)


async def test_a_part_that_does_not_hear_is_cut_off_when_the_drain_is_over(settings: Settings) -> None:
    async def deaf(_settings: Settings, _registry: CollectorRegistry, _stop: asyncio.Event) -> None:
        await asyncio.Event().wait()

    stop = asyncio.Event()
    stop.set()
    hasty = settings.model_copy(update={"drain_seconds": 0.1})
    async with asyncio.timeout(5):
        await run_parts([deaf, until_stopped], hasty, CollectorRegistry(), stop)


async def test_all_kinds_of_worker_fit_into_one_process(settings: Settings) -> None:
    async with worker(settings, "all") as process:
        assert (await process.says("worker started"))["kinds"] == ["projections", "relay", "tasks"]
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_tells_how_it_is_and_drains_on_a_signal(office: Office, number: signal.Signals) -> None:
    async with worker(office.settings, "tasks") as process, httpx2.AsyncClient() as client:
        base = f"http://127.0.0.1:{(await process.says('health served'))['port']}"
        await process.says("worker started")
        assert (await client.get(f"{base}/health/live")).status_code == 200
        await eventually(lambda: answers(client, f"{base}/health/ready", 200), seconds=20)
        await eventually(lambda: tells(client, f"{base}/metrics", "weir_due_work"), seconds=20)
        process.process.send_signal(number)
        await process.says("worker drained")
        assert await process.ends() == 0
    assert await office.database.fetch("SELECT FROM workers") == [], "it has said goodbye"


async def test_a_worker_that_drains_is_alive_but_not_ready(office: Office) -> None:
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    await office.write()
    async with worker(office.settings, "tasks") as process, httpx2.AsyncClient() as client:
        base = f"http://127.0.0.1:{(await process.says('health served'))['port']}"
        await turn.has_message.wait()
        process.process.send_signal(signal.SIGTERM)
        await eventually(lambda: answers(client, f"{base}/health/ready", 503), seconds=20)
        assert (await client.get(f"{base}/health/live")).status_code == 200
        hold.set()
        assert await process.ends() == 0
    (row,) = await office.database.fetch("SELECT state FROM mail_ledger")
    assert row["state"] == "sent", "the mail in hand was finished"


async def test_a_worker_waits_for_postgres_and_says_so_in_its_health(settings: Settings) -> None:
    async with wire_to(settings.database_url.get_secret_value()) as wire:
        await wire.cut()
        behind = settings.model_copy(update={"database_url": SecretStr(wire.url)})
        async with worker(behind, "tasks") as process, httpx2.AsyncClient() as client:
            base = f"http://127.0.0.1:{(await process.says('health served'))['port']}"
            await process.says("waiting for Postgres")
            assert (await client.get(f"{base}/health/live")).status_code == 200
            assert (await client.get(f"{base}/health/ready")).status_code == 503
            await wire.mend()
            await process.says("worker started")
            process.process.send_signal(signal.SIGTERM)
            assert await process.ends() == 0


async def test_a_worker_stops_waiting_for_postgres_when_it_is_told_to(settings: Settings) -> None:
    async with wire_to(settings.database_url.get_secret_value()) as wire:
        await wire.cut()
        async with worker(settings.model_copy(update={"database_url": SecretStr(wire.url)}), "tasks") as process:
            await process.says("waiting for Postgres")
            process.process.send_signal(signal.SIGTERM)
            assert await process.ends() == 0


async def test_a_worker_refuses_a_schema_that_it_does_not_know(office: Office) -> None:
    await office.database.execute("UPDATE alembic_version SET version_num = '9999'")
    async with worker(office.settings, "tasks") as process:
        failure = await process.says("worker cannot start")
        assert "schema is at 9999" in str(failure["why"])
        assert await process.ends() == 1


async def test_a_worker_of_an_unknown_kind_is_refused(settings: Settings) -> None:
    async with worker(settings, "everything") as process:
        assert await process.ends() == 2


async def test_a_worker_killed_between_data_and_250_leaves_its_mail_behind(office: Office, database_url: str) -> None:
    office.stub.turns.append(turn := Turn(hold=asyncio.Event()))
    await office.acquaint()
    async with write_side(database_url) as log:
        await append(log, order_placed().order_id, 0, order_placed())
        async with worker(office.settings, "tasks") as process:
            await asyncio.wait_for(turn.has_message.wait(), 20)
            process.process.kill()
            assert await process.ends() == -signal.SIGKILL
        await office.let_time_pass()
        async with worker(office.settings, "tasks") as process:
            lost, taken = await office.stub.received(2, seconds=20)
            process.process.send_signal(signal.SIGTERM)
            assert await process.ends() == 0
    assert lost.content == taken.content, "the same message with the same Message-ID"
    (row,) = await office.database.fetch("SELECT state, attempts FROM mail_ledger")
    assert (row["state"], row["attempts"]) == ("sent", 2)


async def test_a_worker_told_to_stop_in_the_middle_of_a_message_hears_the_servers_answer_and_sends_it_once(
    office: Office,
) -> None:
    """However slow the server is: its answer counts as long as a conversation may take, and a drain is longer."""
    hold = asyncio.Event()
    office.stub.turns.append(turn := Turn(hold=hold))
    await office.write(1)
    async with worker(office.settings, "tasks") as process:
        await asyncio.wait_for(turn.has_message.wait(), 20)
        process.process.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(SLOW_SECONDS, hold.set)
        assert await process.ends() == 0
    assert hold.is_set(), "it has waited"
    await sends_only_what_is_new(office)


async def test_a_worker_told_to_stop_writes_down_of_a_server_that_never_answers_that_nobody_knows(
    office: Office,
) -> None:
    office.stub.turns.append(turn := Turn(hold=asyncio.Event()))
    mail_id = await office.write(1)
    async with worker(office.settings, "tasks") as process:
        await asyncio.wait_for(turn.has_message.wait(), 20)
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == 0
    row = await office.row(mail_id)
    assert (row["state"], row["attempts"], row["leased_until"]) == ("unknown", 1, None)


async def sends_only_what_is_new(office: Office) -> None:
    """The next worker, to whom all waits and leases are over, sends each mail that is new, and no other."""
    await office.let_time_pass()
    before = len(office.stub.seen)
    await office.write(2)
    async with worker(office.settings, "tasks") as process:
        await office.stub.received(before + 1, seconds=20)
        process.process.send_signal(signal.SIGTERM)
        assert await process.ends() == 0
    rows = await office.database.fetch("SELECT state, attempts FROM mail_ledger")
    assert [tuple(row) for row in rows] == [("sent", 1)] * 2
    assert len({delivery.message["Message-ID"] for delivery in office.stub.taken}) == len(office.stub.seen) == 2


async def test_the_host_runs_within_a_program_too(office: Office) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run_worker(parts_of(["tasks"]), office.settings, stop=stop))
        await office.write()
        await office.stub.received(1)
        stop.set()


async def test_a_worker_whose_log_becomes_another_ends_and_leaves_it_to_a_new_process(office: Office) -> None:
    running = asyncio.create_task(run_worker(parts_of(["tasks"]), office.settings))
    await office.write()
    await office.stub.received(1)
    await office.database.execute("UPDATE log_head SET log_id = gen_random_uuid()")
    with pytest.raises(ExceptionGroup) as failure:
        await asyncio.wait_for(running, 20)
    assert failure.group_contains(OtherLog)


async def test_a_worker_whose_log_has_another_history_says_so_in_a_line(settings: Settings) -> None:
    async with worker(settings, "relay") as process:
        await process.says("worker started")
        async with connected(settings.database_url.get_secret_value()) as session:
            await session.execute("UPDATE log_head SET history = gen_random_uuid()")
        said = await process.says("worker ends")
        assert (said["level"], said["why"]) == ("warning", str(OtherLog()))
        assert await process.ends() == 1
    assert not any("raceback" in str(line) for line in process.told)


def test_every_kind_of_worker_has_its_part() -> None:
    assert set(parts_of(KINDS)) == {"relay", "projections", "tasks"}
