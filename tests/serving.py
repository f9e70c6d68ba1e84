"""An application under a real server on a free port, and connections on which anything can be written."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Serves until the end of the block; gives the port."""
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, server_header=False, http="httptools")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started and not running.done():
            await asyncio.wait([running], timeout=0.01)
        if running.done():
            running.result()
        yield server.servers[0].sockets[0].getsockname()[1]
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
