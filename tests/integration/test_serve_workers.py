"""`weir serve --workers`: one port, several processes, and a parent that replaces who dies and ends whom it started."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from infra.settings import Settings
from tests.support.serving import Served, connected, is_listening, served
from tests.support.small_fleet import FAILS
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

SMALL: Final = "from tests.support.small_fleet import main; main()"
GET: Final = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


def told(running: Served, event: str) -> list[dict[str, Any]]:
    """The whole lines so far that tell of this."""
    lines = [line for line in running.log.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def children(parent: int) -> set[int]:
    """Those that serve: Python's own tracker of what they share is none of them."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(pid) for pid in found if b"spawn_main" in argv(int(pid))}


def argv(pid: int) -> bytes:
    """Nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if argv(pid)}


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds, 30)


async def answering(running: Served) -> int:
    """Whoever answers: which of them takes a connection is for the kernel to say."""
    async with connected(running.port) as line:
        head, body = await line.ask(GET)
        assert head.startswith(b"http/1.1 200")
        return int(body)


async def all_serve(running: Served, workers: int) -> set[int]:
    """So many, and nobody else is there."""

    def they_do() -> bool:
        serving = {line["worker"] for line in told(running, "worker serves")}
        there = children(running.process.pid)
        return len(there) == workers and there <= serving

    await until(they_do)
    return children(running.process.pid)


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


async def test_pools_that_do_not_fit_into_postgres_are_refused_before_any_is_opened(settings: Settings) -> None:
    program = "import sys; from cli.main import main; sys.argv = ['weir', 'serve']; main()"
    code, said = await ended(settings, program, WEIR_POOL_SIZE="50")
    assert code == 1
    assert "may open 260 connections to Postgres (52 each)" in said
    assert len(said.splitlines()) == 1
