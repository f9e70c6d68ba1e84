"""Starts one program of the table and waits until it says that it is ready."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from cli.supervisor.programs import Program
from infra.embedded import Launch, Process, StartFailed, stand_back

_ASK_SECONDS = 2.0


class Runner:
    """A program of the table, startable any number of times."""

    def __init__(
        self,
        program: Program,
        directory: Path,
        environment: Mapping[str, str],
        *,
        ready_seconds: float,
        drain_seconds: float,
    ) -> None:
        self._program = program
        self._launch = Launch(
            name=program.name,
            argv=program.argv,
            cwd=directory,
            log=directory / "log" / f"{program.name}.log",
            pidfile=directory / "run" / f"{program.name}.pid",
            env={**environment, **program.env},
            stop=((signal.SIGTERM, drain_seconds),),
        )
        self._ready_seconds = ready_seconds
        self._process: Process | None = None

    @property
    def name(self) -> str:
        return self._program.name

    @property
    def process(self) -> Process:
        if self._process is None:
            raise StartFailed(self.name, "it was never asked to")
        return self._process

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises StartFailed.

        It stands back only from then on: one that did before would not become ready on a machine that has much to do.
        """
        self._process = Process.spawn(self._launch)
        await self._process.until(self._is_ready, self._ready_seconds)
        if self._program.nice:
            await stand_back(self._process.pid, self._program.nice)

    async def run(self) -> None:
        """Start it and wait until it has done its work. Raises StartFailed where it does not end well, or in time."""
        self._process = Process.spawn(self._launch)
        try:
            async with asyncio.timeout(self._ready_seconds):
                code = await self._process.exited()
        except TimeoutError:
            raise StartFailed(self.name, f"not done after {self._ready_seconds} s") from None
        finally:
            await self._process.stop()
        if code != 0:
            raise StartFailed(self.name, f"it ended by {self._process.ending()}", self._process.last_words())

    async def stop(self) -> None:
        """Let it drain, then kill."""
        if self._process is not None:
            await self._process.stop()

    async def _is_ready(self) -> bool:
        return self._program.ready_url is None or await answers_well(self._program.ready_url)


async def answers_well(url: str) -> bool:
    """Whether a GET of an ``http://host:port/path`` is answered with status 200."""
    address, _, path = url.removeprefix("http://").partition("/")
    host, _, port = address.partition(":")
    request = f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return (await _first_line(host, int(port), request)).startswith(b"HTTP/1.1 200 ")
    except (OSError, TimeoutError):
        return False


async def _first_line(host: str, port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request.encode())
        return await reader.readline()
    finally:
        writer.close()
