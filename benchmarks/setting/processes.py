"""Child processes of the bench: programs that end with an answer, and servers that run while a measure needs them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from benchmarks.failure import Failed
from benchmarks.load.http_client import Broken, Client, request
from benchmarks.options import ROOT
from benchmarks.setting.waiting import until
from infra.embedded.process import launch_command

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: no setting of the developer's shell reaches a side."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(extra)


async def output_of(command: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None) -> str:
    """What the program prints, in a clean environment unless one is given.

    Raises :class:`Failed` if it fails or takes longer than ``timeout`` seconds.
    """
    process = await _started(command, env or environment({}), asyncio.subprocess.PIPE, asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError:
        raise Failed(f"{' '.join(command[1:3])} took more than {timeout:.0f} s") from None
    finally:
        await stop(process)
    if process.returncode:
        raise Failed(f"{' '.join(command[1:3])} ended with {process.returncode}:\n{errors.decode()[-2000:]}")
    return output.decode()


async def _started(
    command: Sequence[str], env: Mapping[str, str], stdout: int | BinaryIO, stderr: int | BinaryIO
) -> asyncio.subprocess.Process:
    """The program, started so that it ends with the bench, however that ends."""
    launch = launch_command(tuple(command), None, signal.SIGTERM)
    return await asyncio.create_subprocess_exec(
        *launch, cwd=ROOT, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr
    )


@asynccontextmanager
async def running(
    command: Sequence[str], extra: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program, running until the block is left; what it says goes to a file, as in production it goes to a pipe."""
    with log.open("ab") as sink:
        process = await _started(command, environment(extra), sink, sink)
    try:
        yield process
    finally:
        await stop(process)


@asynccontextmanager
async def serving(
    command: Sequence[str], extra: Mapping[str, str], log: Path, *, port: int, path: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The same for an HTTP server, given when it answers 200 to a GET of ``path``."""
    async with running(command, extra, log) as process:
        await answers(process, port, path, log)
        yield process


async def answers(process: asyncio.subprocess.Process, port: int, path: str, log: Path) -> None:
    """Wait until the server answers 200. Raises :class:`Failed` if it ends first or takes too long."""
    what = f"a server's start (see {log})"
    if await until(lambda: _settled(process, port, path), seconds=_START_SECONDS, what=what) is _Settled.ENDED:
        raise Failed(f"a server ended at its start:\n{_end_of(log)}")


class _Settled(Enum):
    """How starting a server came out."""

    ANSWERS = 1
    ENDED = 2


async def _settled(process: asyncio.subprocess.Process, port: int, path: str) -> _Settled | None:
    if process.returncode is not None:
        return _Settled.ENDED
    return _Settled.ANSWERS if await _answers(port, path) else None


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _answers(port: int, path: str) -> bool:
    try:
        client = await Client.connect("127.0.0.1", port)
    except OSError:
        return False
    try:
        status, _, _ = await client.ask(request("GET", path, {}))
    except (Broken, OSError):
        return False
    finally:
        client.close()
    return status == 200


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, then end it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(sign)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
