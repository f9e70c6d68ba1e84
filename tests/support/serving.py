"""An application under a real server, here or in a process of its own, and connections to say anything on."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from api.http.connection.protocol import Protocol
from api.http.connection.server import Server
from infra.settings import Settings
from tests.support.write_side import eventually

SERVE: Final = "from cli.serve import serve; serve()"


@asynccontextmanager
async def serving(app: ASGIApp, http: type[Protocol] = Protocol, **more: Any) -> AsyncIterator[int]:
    """Serves until the end of the block; gives the port."""
    async with in_this_process(app, http, **more) as server:
        yield port_of(server)


def port_of(server: Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


@asynccontextmanager
async def in_this_process(
    app: ASGIApp, http: type[Protocol] = Protocol, kind: type[Server] = Server, **more: Any
) -> AsyncIterator[Server]:
    """A server until the end of the block, or until ``should_exit`` is set."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, server_header=False, http=http, **more)
    server = kind(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started and not running.done():
            await asyncio.wait([running], timeout=0.01)
        if running.done():
            running.result()
        yield server
    finally:
        server.should_exit = True
        await running


@dataclass(frozen=True, slots=True)
class Line:
    """A connection. ``hear`` gives ``(head, body)`` of the next response; both empty if the server has hung up."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *parts: bytes) -> None:
        """Write and flush; a server that no longer listens is not an error here."""
        try:
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
        except ConnectionError:
            return

    async def hear(self) -> tuple[bytes, bytes]:
        """Waits at most ten seconds."""
        async with asyncio.timeout(10):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                return b"", b""
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            return head, await self.reader.readexactly(int(length or 0))

    async def ask(self, *parts: bytes) -> tuple[bytes, bytes]:
        """Say and hear."""
        await self.say(*parts)
        return await self.hear()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Line]:
    """A connection to the port, closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running process, its port, and its log."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def stop(self, seconds: float = 30) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def is_listening(port: int) -> bool:
    try:
        async with connected(port):
            return True
    except ConnectionError:
        return False


@asynccontextmanager
async def served(settings: Settings, log: Path, program: str = SERVE, **more: str) -> AsyncIterator[Served]:
    """``weir serve``, or another program, on a free port; ``more`` goes into its environment."""
    port = int(more.get("WEIR_PORT", 0)) or free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "WEIR_PORT": str(port),
        "WEIR_DATA_DIR": str(settings.data_dir),
        **more,
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=out, stderr=out, env=environment
        )
    try:

        async def up() -> bool:
            return process.returncode is not None or await is_listening(port)

        await eventually(up, 60)
        assert process.returncode is None
        yield Served(process=process, port=port, log=log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
