"""``weir up``: what dies is restarted, what is stopped leaves nothing behind, a killed supervisor has a successor."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import orjson
import psutil
import pytest

from cli.supervisor import Backoff, Level, Options, Program, Stack, Stage, Wiring
from cli.supervisor.credentials import ENCRYPTION_KEYS, PROVIDER_KEY, credentials
from cli.supervisor.programs import weir_programs
from cli.supervisor.runner import Runner
from cli.target.run_file import RunFile
from infra.embedded import StartFailed, free_port, is_free
from infra.settings import Settings
from tests.faults.stand_ins import QUICK, an_api, options, stand_in, wiring_of

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


class Said:
    """What a stack reported."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []
        self._more = asyncio.Event()

    def __call__(self, name: str, message: str, _level: Level) -> None:
        self._lines.append((name, message))
        self._more.set()

    def of(self, name: str) -> str:
        return "\n".join(message for who, message in self._lines if who == name)

    async def until(self, name: str, words: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while words not in self.of(name):
                self._more.clear()
                await self._more.wait()


def everything_of(directory: Path) -> list[psutil.Process]:
    """All processes, children's children included, that work for a data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = directory in Path(process.cwd()).parents or Path(process.cwd()) == directory
            marked = (directory / "mark").read_text() in process.environ().values()
        except (psutil.Error, OSError):
            continue
        if mine or marked:
            found.append(process)
    return found


def until_ended(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert alive == []


async def rows(url: str) -> list[int]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        return [row["n"] for row in await connection.fetch("SELECT n FROM kept ORDER BY n")]
    finally:
        await connection.close()


async def keep(url: str, number: int) -> None:
    await rows(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("INSERT INTO kept VALUES ($1)", number)
    finally:
        await connection.close()


def addresses(stack: Stack) -> Iterator[tuple[str, int]]:
    """Every port that something of a stack listens on."""
    for name, url in (("postgres", stack.database_url), ("redis", stack.redis_url)):
        yield name, urlsplit(url).port or 0
    wiring = stack.wiring
    yield from {"api": wiring.api_port, "smtp": wiring.smtp_port, "mailbox": wiring.mailbox_port}.items()
    yield from {"provider": wiring.provider_port, **wiring.worker_ports}.items()


@contextmanager
def supervisor(directory: Path, port: int, *behaviours: str) -> Iterator[subprocess.Popen[str]]:
    """``weir up`` with a stand-in, as a process of its own."""
    command = [sys.executable, "-m", "tests.faults.stand_ins", str(directory), str(port), *behaviours]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What the supervisor says up to the line with those words. Fails where it ends before."""
    said = ""
    for line in process.stdout or []:
        said += line
        if words in line:
            return said
    raise AssertionError(f"never said {words!r}:\n{said}")


async def test_a_child_that_dies_is_restarted_and_its_exit_code_is_said(tmp_path: Path) -> None:
    said = Said()
    async with Stack(options(tmp_path), said) as stack:
        before = stack.child("api").pid
        await stack.kill("api", signal.SIGTERM)
        await stack.restarted("api")
        assert stack.child("api").pid != before
        assert stack.child("api").restarts == 1
    assert "ended by exit code 0; starting again in" in said.of("api")


async def test_a_child_that_is_renewed_has_its_successor_at_once_however_long_the_backoff(tmp_path: Path) -> None:
    patient = Backoff(first=3600, most=3600)
    async with Stack(replace(options(tmp_path), backoff=patient)) as stack:
        before = stack.child("api").pid
        stack.child("api").renew()
        await stack.restarted("api")
        assert stack.child("api").pid != before


@pytest.mark.parametrize("name", ["postgres", "valkey"])
async def test_a_server_that_is_killed_comes_back_at_the_same_place(tmp_path: Path, name: str) -> None:
    async with Stack(options(tmp_path)) as stack:
        await keep(stack.database_url, 1)
        await stack.kill(name)
        await stack.restarted(name)
        assert await rows(stack.database_url) == [1]
        redis = socket.create_connection(("127.0.0.1", int(stack.redis_url.rpartition(":")[2].partition("/")[0])))
        redis.close()


async def test_a_child_that_is_held_down_stays_down_until_it_is_let_go(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)) as stack:
        async with stack.down("api"):
            await asyncio.sleep(QUICK.most * 3)  # longer than any backoff: only the holding keeps it away
            assert is_free(stack.wiring.api_port)
        assert not is_free(stack.wiring.api_port)


async def test_what_a_child_says_lies_in_its_log_and_errors_reach_the_console(tmp_path: Path) -> None:
    said = Said()
    async with Stack(options(tmp_path, "talkative"), said):
        await said.until("api", "it burns")
    assert "it burns where=here" in said.of("api")
    assert "all is well" not in said.of("api")
    assert "all is well" in (tmp_path / "log" / "api.log").read_text()


async def test_a_child_that_never_gets_ready_stops_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    chosen = options(tmp_path, "unready")
    impatient = replace(chosen, ready_seconds=1.0)
    with pytest.raises(StartFailed, match="api did not start: not ready after"):
        async with Stack(impatient):
            pass
    assert everything_of(tmp_path) == []


async def test_a_child_that_crashes_at_start_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"ended by exit code 1\nI cannot go on"):
        async with Stack(options(tmp_path, "crash")):
            pass
    assert everything_of(tmp_path) == []


async def test_the_first_that_fails_ends_the_start_without_waiting_for_the_slow(tmp_path: Path) -> None:
    def table(wiring: Wiring) -> list[Program]:
        return [stand_in("api", wiring.api_port, "unready"), stand_in("relay", free_port(), "crash")]

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StartFailed, match="relay did not start: it ended by exit code 1"):
            async with Stack(replace(options(tmp_path), programs=table, ready_seconds=2 * PATIENCE)):
                pass
    assert everything_of(tmp_path) == []


async def test_the_rest_is_not_started_before_what_runs_once_has_ended_well(tmp_path: Path) -> None:
    def table(wiring: Wiring) -> list[Program]:
        first = Program(name="first", argv=(sys.executable, "-c", "exit(3)"), stage=Stage.BEFORE)
        return [stand_in("api", wiring.api_port), first]

    with pytest.raises(StartFailed, match="first did not start: it ended by exit code 3"):
        async with Stack(replace(options(tmp_path), programs=table)):
            pass
    assert not (tmp_path / "log" / "api.log").exists()


async def test_a_stop_lets_programs_drain_before_the_servers_go(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)):
        pass
    assert (tmp_path / "farewell").read_text() == "postgres was there"


async def test_a_program_is_killed_only_after_the_time_that_it_was_told_to_drain_within(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)) as stack:
        told = float(psutil.Process(stack.child("api").pid).environ()["WEIR_DRAIN_SECONDS"])
        [[_, patience]] = orjson.loads((tmp_path / "run" / "api.pid").read_bytes())["stop"]
    assert Options(directory=tmp_path).drain_seconds == Settings.model_construct().drain_seconds
    assert told == options(tmp_path).drain_seconds < patience


async def test_a_stop_leaves_no_process_behind_stubborn_ones_and_grandchildren_included(tmp_path: Path) -> None:
    async with Stack(options(tmp_path, "stubborn", "grandchild")):
        assert len(everything_of(tmp_path)) >= 4
    assert everything_of(tmp_path) == []


async def test_the_grandchildren_of_a_child_that_crashes_go_with_it(tmp_path: Path) -> None:
    async with Stack(options(tmp_path, "grandchild")) as stack:
        before = psutil.Process(stack.child("api").pid).children()
        await stack.kill("api")
        await stack.restarted("api")
        assert [process for process in before if process.is_running() and process.status() != "zombie"] == []


async def test_a_program_stands_back_as_far_as_the_table_says_once_it_is_ready(tmp_path: Path) -> None:
    """A busy machine would keep one that stands back from becoming ready."""
    niceness: list[tuple[int, int | None]] = []
    runner: Runner

    async def ask(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        niceness.append(niceness_of(runner.process.pid))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(ask, "127.0.0.1") as health:
        host, port = health.sockets[0].getsockname()
        program = Program(name="sleeper", argv=("/bin/sleep", "60"), nice=5, ready_url=f"http://{host}:{port}/")
        runner = Runner(program, tmp_path, os.environ, ready_seconds=5, drain_seconds=5)
        await runner.start()
        niceness.append(niceness_of(runner.process.pid))
        await runner.stop()
    assert niceness[0] in [(os.nice(0), group) for group in (0, None)]
    assert niceness[1] in [(os.nice(0) + 5, group) for group in (5, None)]


def niceness_of(pid: int) -> tuple[int, int | None]:
    return psutil.Process(pid).nice(), autogroup_nice(pid)


def autogroup_nice(pid: int) -> int | None:
    """How the kernel schedules the session; None where it schedules no sessions."""
    group = Path(f"/proc/{pid}/autogroup")
    return int(group.read_text().split()[-1]) if group.exists() else None


def test_mail_stands_back_for_answers_and_nothing_else_does(tmp_path: Path) -> None:
    programs = weir_programs(wiring_of(tmp_path))
    assert {program.name for program in programs if program.nice} == {"mailsink", "tasks", "tasks-2"}


@pytest.mark.parametrize(
    ("secret", "who"),
    [(ENCRYPTION_KEYS, {"api", "tasks", "tasks-2"}), (PROVIDER_KEY, {"provider", "tasks", "tasks-2"})],
)
def test_a_secret_is_told_only_to_who_works_with_it(tmp_path: Path, secret: str, who: set[str]) -> None:
    """Nor does anybody inherit it from who has started the stack (OWASP ASVS 5, 13.3.2)."""
    wiring = wiring_of(tmp_path)
    assert {program.name for program in weir_programs(wiring) if secret in program.env} == who
    assert secret not in wiring.environment


def test_a_directory_of_an_older_release_gets_the_secrets_that_it_lacks_and_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENCRYPTION_KEYS)
    (tmp_path / "secrets.json").write_text(json.dumps({"WEIR_ADMIN_PASSWORD": "of old"}))
    first = credentials(tmp_path)
    assert (first["WEIR_ADMIN_PASSWORD"], len(b64decode(first[ENCRYPTION_KEYS]))) == ("of old", 32)
    assert credentials(tmp_path) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


async def test_a_second_supervisor_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)) as stack:
        with pytest.raises(StartFailed, match=f"is in use by process {os.getpid()}"):
            async with Stack(options(tmp_path)):
                pass
        await keep(stack.database_url, 1)  # the first was not harmed
        assert RunFile(tmp_path).read() is not None  # nor what others find it by


async def test_two_supervisors_on_two_directories_do_not_meet(tmp_path: Path) -> None:
    async with Stack(options(tmp_path / "a")) as one, Stack(options(tmp_path / "b")) as other:
        await keep(one.database_url, 1)
        await keep(other.database_url, 2)
        assert await rows(one.database_url) == [1]
        assert await rows(other.database_url) == [2]


async def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"port {port} is taken"):
            async with Stack(options(tmp_path, port=port)):
                pass
    assert not (tmp_path / "postgres").exists()


async def test_a_stack_keeps_its_data_and_secrets_over_a_restart(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)) as stack:
        await keep(stack.database_url, 1)
        password = stack.environment["WEIR_ADMIN_PASSWORD"]
        listening = dict(addresses(stack))
    async with Stack(options(tmp_path)) as stack:
        assert dict(addresses(stack)) == listening
        assert await rows(stack.database_url) == [1]
        assert stack.environment["WEIR_ADMIN_PASSWORD"] == password
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


async def test_servers_that_are_named_are_used_and_said_and_none_are_started(
    tmp_path: Path, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_DIRECT_URL", "ARQ_REDIS_URL"):
        monkeypatch.setenv(name, "scheme://of.the.callers")
    said = Said()
    chosen = replace(options(tmp_path), database_url=database_url, redis_url=redis_url)
    async with Stack(chosen, said) as stack:
        told = psutil.Process(stack.child("api").pid).environ()
        assert {each.name() for each in everything_of(tmp_path)} & {"postgres", "valkey-server"} == set()
    assert (told["DATABASE_URL"], told["REDIS_URL"]) == (database_url, redis_url)
    assert (told["DATABASE_DIRECT_URL"], told["ARQ_REDIS_URL"]) == ("scheme://of.the.callers",) * 2
    for name, url in (("postgres", database_url), ("valkey", redis_url)):
        assert f"none is started: {url.rpartition('@')[2]} is used" in said.of(name)
    assert not (tmp_path / "postgres").exists()


async def test_a_url_of_the_directorys_own_server_has_that_server_started(tmp_path: Path, redis_url: str) -> None:
    """As a shell has it that was told by ``weir env``, and was left open."""
    async with Stack(replace(options(tmp_path), redis_url=redis_url)) as stack:
        own = stack.database_url
    async with Stack(replace(options(tmp_path), database_url=own, redis_url=redis_url)) as stack:
        assert stack.child("postgres").pid
        assert stack.database_url == own


@pytest.fixture
def elsewhere(database_url: str, redis_url: str) -> Callable[[Path], Options]:
    """A stack on servers that are there, so that it starts at once."""
    return lambda directory: replace(options(directory), database_url=database_url, redis_url=redis_url)


async def test_what_a_caller_sets_in_vain_is_said(
    tmp_path: Path, elsewhere: Callable[[Path], Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_SMTP_URL", "smtp://mail.example")
    monkeypatch.setenv("WEIR_PAYMENT_PROVIDER_URL", "https://provider.example")
    said = Said()
    async with Stack(elsewhere(tmp_path), said):
        pass
    assert "not used, as this stack has its own: WEIR_SMTP_URL, WEIR_PAYMENT_PROVIDER_URL" in said.of("weir")


async def test_the_secrets_of_a_first_start_hold_for_the_next_without_them(
    tmp_path: Path, elsewhere: Callable[[Path], Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "WEIR_ADMIN_EMAIL": "boss@weir.example",
        "WEIR_ADMIN_PASSWORD": "a password of my own",
        ENCRYPTION_KEYS: b64encode(b"a key of thirty-two random bytes").decode(),
        "WEIR_PAYMENT_WEBHOOK_SECRET": f"whsec_{b64encode(b'a secret of 24 bytes ...').decode()}",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    async with Stack(elsewhere(tmp_path)) as stack:
        assert {**stack.wiring.secrets, **given} == stack.wiring.secrets
    for name in given:
        monkeypatch.delenv(name)
    async with Stack(elsewhere(tmp_path)) as stack:
        assert {**stack.wiring.secrets, **given} == stack.wiring.secrets


async def test_an_admin_beside_the_first_is_said_and_not_kept_in_its_place(
    tmp_path: Path, elsewhere: Callable[[Path], Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stack(elsewhere(tmp_path)) as stack:
        first = stack.wiring.secrets
    monkeypatch.setenv("WEIR_ADMIN_EMAIL", "boss@weir.example")
    said = Said()
    async with Stack(elsewhere(tmp_path), said) as stack:
        assert stack.environment["WEIR_ADMIN_EMAIL"] == "boss@weir.example"
    assert "WEIR_ADMIN_EMAIL names boss@weir.example, an admin beside admin@weir.example" in said.of("weir")
    assert json.loads((tmp_path / "secrets.json").read_text()) == first


async def test_secrets_that_were_refused_are_not_kept(
    tmp_path: Path, elsewhere: Callable[[Path], Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIR_ADMIN_PASSWORD", "weir")
    with pytest.raises(StartFailed):
        async with Stack(replace(elsewhere(tmp_path), programs=an_api("crash"))):
            pass
    assert "WEIR_ADMIN_PASSWORD" not in json.loads((tmp_path / "secrets.json").read_text())


async def test_sigterm_stops_everything_and_ends_with_zero(tmp_path: Path) -> None:
    with supervisor(tmp_path, 0, "grandchild") as process:
        await asyncio.to_thread(read_until, process, "mailbox")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert everything_of(tmp_path) == []


async def test_sigterm_in_the_middle_of_a_start_stops_everything_too(tmp_path: Path) -> None:
    with supervisor(tmp_path, 0, "unready") as process:
        await asyncio.to_thread(read_until, process, "postgres")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    assert everything_of(tmp_path) == []


async def test_a_killed_supervisor_takes_its_children_along(tmp_path: Path) -> None:
    with supervisor(tmp_path, 0) as process:
        await asyncio.to_thread(read_until, process, "mailbox")
        children = everything_of(tmp_path)
        process.kill()
    assert len(children) >= 3
    await asyncio.to_thread(until_ended, children)
    assert (tmp_path / "run" / "stack.json").exists()
    assert RunFile(tmp_path).read() is None  # what it says is no longer so


async def test_after_a_killed_supervisor_the_next_start_finds_the_port_free_and_the_data_there(tmp_path: Path) -> None:
    port = free_port()
    with supervisor(tmp_path, port, "grandchild") as process:
        await asyncio.to_thread(read_until, process, "mailbox")
        grandchildren = [each for each in everything_of(tmp_path) if "sleep(600)" in " ".join(each.cmdline())]
        process.kill()
    async with Stack(options(tmp_path, port=port)) as stack:
        assert [each for each in grandchildren if each.is_running() and each.status() != "zombie"] == []
        await keep(stack.database_url, 1)
    assert len(grandchildren) == 1


async def test_a_second_weir_up_says_who_is_there_and_ends_with_one(tmp_path: Path) -> None:
    async with Stack(options(tmp_path)):
        with supervisor(tmp_path, 0) as process:
            said, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert process.returncode == 1
    assert f"is in use by process {os.getpid()}: end that first" in said.replace("\n", " ")


def test_each_restart_in_a_row_waits_longer_up_to_a_bound_and_never_the_same() -> None:
    backoff = Backoff(first=1.0, most=8.0)
    waits = [[backoff.delay(failures) for _ in range(50)] for failures in range(6)]
    for failures, spread in enumerate(waits):
        longest = min(8.0, 2.0**failures)
        assert all(longest / 2 <= wait <= longest for wait in spread)
        assert len(set(spread)) > 1


async def test_a_child_that_crashes_again_and_again_is_not_restarted_without_pause(tmp_path: Path) -> None:
    said = Said()
    crash_later = tmp_path / "crash"

    def table(wiring: Wiring) -> list[Program]:
        program = stand_in("api", wiring.api_port)
        script = f"test -e {crash_later} && exit 7; exec " + " ".join(program.argv)
        return [Program(name="api", argv=("/bin/sh", "-c", script), env=program.env, ready_url=program.ready_url)]

    async with Stack(replace(options(tmp_path), programs=table), said) as stack:
        crash_later.touch()
        await stack.kill("api")
        await said.until("api", "api did not start: it ended by exit code 7; starting again in 0.3 s")
        crash_later.unlink()
        await stack.restarted("api")
