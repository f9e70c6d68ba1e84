"""The payment provider's stand-in on a free port of this process, and a raw one that says whatever it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from pydantic import SecretStr

from cli.provider.book import Book, Given
from cli.provider.desk import Desk, Trouble, create_provider
from infra.embedded import free_port
from infra.host.inner_server import InnerServer

KEY = SecretStr("sesame")


class StandIn:
    """The stand-in. Its port stays the same over ``stop`` and ``start``, and so does its book."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def given(self) -> list[Given]:
        return list(self._book.given)

    @property
    def calls(self) -> list[str]:
        """The idempotency keys of the calls since the start, in order."""
        return self._desk.calls

    def tell(self, **trouble: object) -> None:
        """Behave so from now on; well, if nothing is said."""
        self._desk.tell(Trouble.model_validate(trouble))

    async def called(self, count: int = 1) -> None:
        """Returns when so many calls have come."""
        async with asyncio.timeout(10):
            while len(self.calls) < count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)

    async def start(self) -> None:
        self._book = Book(self._directory)
        self._desk = Desk(self._book, KEY.get_secret_value())
        config = uvicorn.Config(
            create_provider(self._desk),
            port=self._port,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = InnerServer(config)
        self._serving = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(10):
            while not self._server.started:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self.tell()
        self._server.should_exit = True
        await self._serving


@asynccontextmanager
async def stand_in(directory: Path) -> AsyncIterator[StandIn]:
    desk = StandIn(directory)
    await desk.start()
    try:
        yield desk
    finally:
        await desk.stop()


@dataclass
class RawProvider:
    """Reads a request and answers with ``says``, piece by piece, and then hangs up; ``pause`` comes between pieces."""

    url: str = ""
    says: list[bytes] = field(default_factory=list)
    pause: float = 0.0
    requests: list[bytes] = field(default_factory=list)
    written: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            for piece in self.says:
                writer.write(piece)
                await writer.drain()
                self.written += len(piece)
                await asyncio.sleep(self.pause)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_provider() -> AsyncIterator[RawProvider]:
    provider = RawProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
