"""A subscriber of webhooks: a server on a free port that remembers what came, and does as it is told with each."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Came:
    """A request as it came."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> Any:
        return orjson.loads(self.body)


def answers(status: int, text: bytes = b"", *headers: str) -> Behave:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", *headers, "", ""]

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + text)
        await writer.drain()

    return behave


def says(text: bytes) -> Behave:
    """These bytes, and the end."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return behave


def hangs_after(text: bytes = b"") -> Behave:
    """These bytes, and then nothing until the client has enough."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()
        await asyncio.Event().wait()

    return behave


def answers_after(over: asyncio.Event) -> Behave:
    """That it has it, when the client has long given up."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        await over.wait()
        await OK(writer)

    return behave


def never_ends(head: bytes, chunk: bytes) -> Behave:
    """The same again and again."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()

    return behave


OK = answers(200, b"thanks")


@dataclass(kw_only=True)
class Subscriber:
    """``next`` are behaviours for the requests to come, one each; then ``always`` counts. ``tls`` makes it an https."""

    tls: ssl.SSLContext | None = None
    port: int = 0
    always: Behave = OK
    next: deque[Behave] = field(default_factory=deque)
    came: list[Came] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    talks: set["asyncio.Task[Any]"] = field(default_factory=set)
    server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    async def open(self) -> None:
        """Takes connections, at the same port as before."""
        self.server = await asyncio.start_server(self.talk, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuses them, and breaks off what is under way."""
        if self.server is not None:
            self.server.close()
        for talk in list(self.talks):
            talk.cancel()
        await asyncio.gather(*self.talks, return_exceptions=True)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.came.append(await _request(reader))
                self.arrived.set()
                await (self.next.popleft() if self.next else self.always)(writer)
        finally:
            self.talks.discard(task)
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Came:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
    return Came(headers=headers, body=await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def subscriber(tls: ssl.SSLContext | None = None) -> AsyncIterator[Subscriber]:
    """One that listens until the end of the block."""
    listening = Subscriber(tls=tls)
    await listening.open()
    try:
        yield listening
    finally:
        await listening.close()
