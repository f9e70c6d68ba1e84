"""`weir serve --workers`: one port, several processes, and a parent that replaces who dies and ends whom it started."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from infra.host.open_files import RESERVED
from infra.settings import Settings
from tests.support.fleets import alive, all_serve, told, until
from tests.support.serving import Served, connected, is_listening, served
from tests.support.small_fleet import FAILS
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

SMALL: Final = "from tests.support.small_fleet import main; main()"
SERVE: Final = "import sys; from cli.main import main; sys.argv = ['weir', 'serve']; main()"
GET: Final = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


async def answering(running: Served) -> int:
    """Whoever answers: which of them takes a connection is for the kernel to say."""
    async with connected(running.port) as line:
        head, body = await line.ask(GET)
        assert head.startswith(b"http/1.1 200")
        return int(body)


@asynccontextmanager
async def small_fleet(settings: Settings, folder: Path, workers: int, **more: str) -> AsyncIterator[Served]:
    more = {"WEIR_SERVE_WORKERS": str(workers), FAILS: str(folder / "fails"), **more}
    async with served(settings, folder / "log", SMALL, **more) as running:
        yield running


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """They use no servers."""
    return Settings.model_validate({"data_dir": tmp_path})


async def test_who_dies_or_hangs_is_replaced_and_a_parent_leaves_nobody_behind(bare: Settings, tmp_path: Path) -> None:
    async with small_fleet(bare, tmp_path, 2) as running:
        for failures, sign in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):
            workers = await all_serve(running, 2)
            os.kill(max(workers), sign)
            await until(lambda failures=failures: len(told(running, "worker died young")) == failures)  # type: ignore[misc]
            assert max(workers) not in await all_serve(running, 2)
        first, second = (line["seconds"] for line in told(running, "worker died young"))
        assert second >= first  # who dies at once again and again is no loop
        workers = await all_serve(running, 2)
        running.process.kill()
        await until(lambda: not alive(workers))
        assert not await is_listening(running.port)


async def test_a_parent_that_can_start_nobody_lets_those_go_on_who_serve(bare: Settings, tmp_path: Path) -> None:
    async with small_fleet(bare, tmp_path, 2) as running:
        parent = running.process.pid
        workers = await all_serve(running, 2)
        before = resource.prlimit(parent, resource.RLIMIT_NOFILE)
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{parent}/fd")) - 2, before[1]))
        os.kill(max(workers), signal.SIGKILL)
        await until(lambda: len(told(running, "no worker can be started")) > 1)
        assert await answering(running) == min(workers)
        resource.prlimit(parent, resource.RLIMIT_NOFILE, before)
        assert min(workers) in await all_serve(running, 2)


async def test_strangers_leave_a_worker_the_files_that_it_needs(bare: Settings, tmp_path: Path) -> None:
    async with small_fleet(bare, tmp_path, 1) as running, AsyncExitStack() as strangers:
        (worker,) = await all_serve(running, 1)
        _, most = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (2 * RESERVED, most))
        first = await strangers.enter_async_context(connected(running.port))
        assert (await first.ask(GET))[0]
        others = [await strangers.enter_async_context(connected(running.port)) for _ in range(RESERVED + 20)]
        for late in others[RESERVED:]:
            assert await late.hear() == (b"", b"")  # at once, and not when a head has not come for ten seconds
        assert len(os.listdir(f"/proc/{worker}/fd")) < 2 * RESERVED - 50
        assert (await first.ask(GET))[0].startswith(b"http/1.1 200")
        await strangers.aclose()

        async def lets_in() -> bool:
            with suppress(ConnectionError):  # it has yet to hear that they are gone
                async with connected(running.port) as line:
                    return bool((await line.ask(GET))[0])
            return False

        await eventually(lets_in, 10)


async def test_each_is_replaced_by_one_that_serves_and_stays_if_there_is_none(bare: Settings, tmp_path: Path) -> None:
    async with small_fleet(bare, tmp_path, 2, WEIR_DRAIN_SECONDS="300") as running, connected(running.port) as line:
        first = await all_serve(running, 2)
        (tmp_path / "fails").touch()
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: bool(told(running, "no successor could start: those who serve go on")))
        assert await all_serve(running, 2) == first
        (tmp_path / "fails").unlink()
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: not alive(first))
        second = await all_serve(running, 2)
        assert await answering(running) in second
        # The second signal waits for nobody, also not for a request that has begun and does not go on.
        await line.say(b"POST /wait HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n")
        running.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(told(running, "ending")))
        assert await running.stop() == 0
        assert not alive(second)


async def test_who_has_answered_enough_gives_way_to_another(bare: Settings, tmp_path: Path) -> None:
    async with small_fleet(bare, tmp_path, 1, WEIR_SERVE_MAX_REQUESTS="20") as running:
        first = await answering(running)

        async def another_serves() -> bool:
            return await answering(running) != first

        await eventually(another_serves, 30)
        assert await running.stop() == 0


async def ended(settings: Settings, program: str, **more: str) -> tuple[int | None, str]:
    """How a program ends that cannot start, and what it says."""
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "WEIR_PORT": "0",
        "WEIR_SERVE_WORKERS": "4",
        "WEIR_DATA_DIR": str(settings.data_dir),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def test_workers_that_cannot_start_are_told_of_once(bare: Settings, tmp_path: Path) -> None:
    (tmp_path / "fails").touch()
    code, said = await ended(bare, SMALL, **{FAILS: str(tmp_path / "fails")})
    assert code == 1
    assert said.count("nothing to serve with") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_port_that_is_taken_is_told_of_before_anything_is_opened(bare: Settings, workers: str) -> None:
    """Postgres is not there: who looked for it first would wait for it."""
    nowhere = bare.model_copy(update={"database_url": SecretStr("postgresql://weir@127.0.0.1:1/weir")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = await ended(nowhere, SERVE, WEIR_PORT=str(port), WEIR_SERVE_WORKERS=workers)
    assert code == 1
    assert said == f"WEIR_HOST and WEIR_PORT lead to 127.0.0.1:{port}: Address already in use\n"


async def test_pools_that_do_not_fit_into_postgres_are_refused_before_any_is_opened(settings: Settings) -> None:
    code, said = await ended(settings, SERVE, WEIR_POOL_SIZE="50")
    assert code == 1
    assert "may open 260 connections to Postgres (52 each)" in said
    assert len(said.splitlines()) == 1


HANDED: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""
"""As systemd begins a process that is to have a socket of its own."""


@asynccontextmanager
async def activated(settings: Settings, listening: socket.socket, folder: Path) -> AsyncIterator[None]:
    """One worker on a socket that somebody else holds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANDED, str(listening.fileno()), SMALL),
        pass_fds=[listening.fileno()],
        env={**os.environ, "WEIR_DATA_DIR": str(settings.data_dir), FAILS: str(folder / "fails")},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_who_comes_while_one_process_follows_another_on_a_socket_of_systemds_waits(
    bare: Settings, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        answers = []
        for _ in range(2):
            async with connected(port) as line:  # nobody is there yet, or any more
                await line.say(GET)
                async with activated(bare, listening, tmp_path):
                    head = await asyncio.wait_for(line.reader.readuntil(b"\r\n\r\n"), 30)
                    answers.append(head[:15])
        assert answers == [b"HTTP/1.1 200 OK"] * 2
