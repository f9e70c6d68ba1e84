"""A line to Postgres that can be cut at the worst moment, stalled, and taken away."""

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final
from urllib.parse import urlsplit

APPEND: Final = b"}\x1e{"
"""Stands in every batch that an appender sends, and in nothing else."""

_DONE: Final = b"Z\x00\x00\x00\x05I"
"""ReadyForQuery, outside a transaction: what was asked for is committed."""


_READY: Final = (_DONE, b"Z\x00\x00\x00\x05T", b"Z\x00\x00\x00\x05E")
"""The server has nothing more to say, within a transaction or without."""

_COMMITTED: Final = re.compile(rb"C\x00\x00\x00.(INSERT|UPDATE|DELETE|COMMIT)|s\x00\x00\x00\x04", re.DOTALL)
"""CommandComplete, of a statement that writes or of a transaction's end; PortalSuspended, where one row was wanted."""

_A_WRITE: Final = rb"BEGIN|INSERT|UPDATE|DELETE"


class _Line:
    """One connection: what the client says to the server, and what the server answers."""

    def __init__(self, client: StreamWriter, server: StreamWriter) -> None:
        self.ends = (client, server)
        self.answer: bytearray | None = None
        self.keeps = False
        self.commits: bytearray | None = None

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Proxy:
    """Stands before a server. Faults are armed one at a time and hit the next batch that is appended through it, or
    the next statement with certain words.

    ``hits`` counts the faults, ``answered`` the bytes that the server has said; ``kept`` is set once an answer is kept.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._times_closed = 0
        self._lines: set[_Line] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stall_at: bytes | None = None
        self._next = ""
        self._hit = APPEND
        self._writing: re.Pattern[bytes] | None = None
        self._cut_at: bytes | None = None
        self.hits = 0
        self.answered = 0
        self.kept = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """The server's URL, by way of this proxy."""
        userinfo = self._url.netloc.rpartition("@")[0]
        return self._url._replace(netloc=f"{userinfo}@127.0.0.1:{self.port}").geturl()

    def lead_to(self, url: str) -> None:
        """Connections made from now on go to this server. Those that are there stay where they are."""
        self._url = urlsplit(url)

    def lose_the_next_answer(self, to: bytes = APPEND) -> None:
        """The next batch reaches the server and is committed; then the line breaks, before the answer arrives."""
        self._next, self._hit = "answer", to

    def lose_the_next_request(self, with_words: bytes = APPEND) -> None:
        """The line breaks before the next batch reaches the server."""
        self._next, self._hit = "request", with_words

    def keep_the_next_answer(self) -> None:
        """The next batch reaches the server and is committed; its answer never arrives, though the line stays open."""
        self._next, self._hit = "keep", APPEND

    def lose_the_next_commit(self, words: bytes | None = None) -> None:
        """What a client writes next, or with these words, is committed; then the line breaks, before it hears so."""
        self._writing = re.compile(_A_WRITE if words is None else re.escape(words))

    def cut_at(self, words: bytes) -> None:
        """The line breaks when a client says these words next; the server does not hear them."""
        self._cut_at = words

    def stall(self) -> None:
        """Nothing moves any more, either way, though all connections stay open and new ones are taken."""
        self._flowing.clear()

    def stall_at(self, words: bytes) -> None:
        """The same, from the moment in which a client says these words."""
        self._stall_at = words

    def resume(self) -> None:
        """Everything that was held back moves on."""
        self._stall_at = None
        self._flowing.set()

    async def close(self) -> None:
        """Cuts all lines, also those that are being made; new ones are refused."""
        self._times_closed += 1
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            line.cut()
        self._flowing.set()
        while self._lines:  # noqa: ASYNC110 - until each has noticed
            await asyncio.sleep(0)

    async def open(self) -> None:
        """Takes connections, at the same port as before."""
        serve = partial(self._serve, self._times_closed)
        self._server = await asyncio.start_server(serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, times_closed: int, client: StreamReader, to_client: StreamWriter) -> None:
        await self._flowing.wait()
        try:
            server, to_server = await asyncio.open_connection(self._url.hostname, self._url.port)
        except ConnectionError:
            to_client.transport.abort()
            return
        line = _Line(to_client, to_server)
        if times_closed != self._times_closed:
            line.cut()
            return
        self._lines.add(line)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._ask(line, client, to_server))
                both.create_task(self._answer(line, server, to_client))
        finally:
            line.cut()
            self._lines.discard(line)

    async def _ask(self, line: _Line, client: StreamReader, to_server: StreamWriter) -> None:
        while data := await _read(client):
            if self._hit in data and self._next:
                fault, self._next = self._next, ""
                self.hits += 1
                if fault == "request":
                    break
                line.answer, line.keeps = bytearray(), fault == "keep"
            if self._cut_at is not None and self._cut_at in data:
                self._cut_at, self.hits = None, self.hits + 1
                break
            if self._writing is not None and self._writing.search(data):
                self._writing, line.commits = None, bytearray()
            if self._stall_at is not None and self._stall_at in data:
                self.stall()
            await self._flowing.wait()
            to_server.write(data)
        if line.answer is None or line.keeps:
            line.cut()

    async def _answer(self, line: _Line, server: StreamReader, to_client: StreamWriter) -> None:
        while data := await _read(server):
            self.answered += len(data)
            await self._flowing.wait()
            if line.commits is not None and self._is_committed(line.commits, data):
                break
            if line.answer is None:
                to_client.write(data)
                continue
            line.answer += data
            if not line.answer.endswith(_DONE):
                continue
            if not line.keeps:
                break
            self.kept.set()
        line.cut()

    def _is_committed(self, said: bytearray, data: bytes) -> bool:
        """Whether the server now says that the client's write is committed. Of what only reads nothing is kept back."""
        said += data
        if not said.endswith(_READY):
            return False
        if said.endswith(_DONE) and _COMMITTED.search(said):
            self.hits += 1
            return True
        said.clear()
        return False


async def _read(reader: StreamReader) -> bytes:
    with suppress(ConnectionError):
        return await reader.read(1 << 20)
    return b""


@asynccontextmanager
async def proxy_before(url: str) -> AsyncIterator[Proxy]:
    """A proxy that takes connections to the server of ``url``."""
    proxy = Proxy(url)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
