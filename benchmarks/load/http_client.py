"""A bare HTTP/1.1 keep-alive client on ``asyncio.Protocol``: so cheap that a load test measures the server alone."""

import asyncio
from collections.abc import Callable
from typing import cast

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Broken(Exception):
    """The server closed the connection or answered in a way this client does not speak."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way; calls ``answered(status, head, body)`` for each."""

    def __init__(self, answered: Callable[[int, bytes, bytes], None], lost: Callable[[], None]) -> None:
        self._answered = answered
        self._lost = lost
        self._received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        """Write one whole request. The one before must have been answered."""
        if self.transport is None or self.transport.is_closing():
            raise Broken("the connection is closed")
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(_END)
        whole = end + 4 + body_length(received[:end]) if end >= 0 else 0
        if end < 0 or len(received) < whole:
            self._received = received
            return
        self._received = b""
        self._answered(int(received[9:12]), received[:end], received[end + 4 : whole])

    def connection_lost(self, _reason: Exception | None) -> None:
        self._lost()

    def close(self) -> None:
        """Close without waiting for an answer under way."""
        if self.transport is not None:
            self.transport.close()


def body_length(head: bytes) -> int:
    """The answer's Content-Length; 0 where an answer has no body. Raises :class:`Broken` on a chunked answer."""
    at = head.find(_LENGTH)
    if at < 0:
        return _rare_body_length(head)
    end = head.find(b"\r", at)
    return int(head[at + 15 : end if end >= 0 else None])


def _rare_body_length(head: bytes) -> int:
    lower = head.lower()
    if b"transfer-encoding:" in lower:
        raise Broken("a chunked answer")
    if _LENGTH in lower:
        return body_length(lower)
    return 0


def header(head: bytes, name: bytes) -> bytes:
    """A header's value, empty if there is none. ``name`` is lower case."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


class Client:
    """The same connection for a caller who awaits each answer."""

    def __init__(self) -> None:
        self._connection = Connection(self._answered, self._lost)
        self._waiting: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    @classmethod
    async def connect(cls, host: str, port: int) -> "Client":
        """A client with an open connection to the host."""
        client = cls()
        await asyncio.get_running_loop().create_connection(lambda: client._connection, host, port)
        return client

    async def ask(self, request: bytes, timeout: float = 5.0) -> tuple[int, bytes, bytes]:
        """Send a request and wait for its (status, head, body). Raises :class:`Broken` or ``TimeoutError``."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._connection.send(request)
        async with asyncio.timeout(timeout):
            return await self._waiting

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _answered(self, status: int, head: bytes, body: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, head, body))

    def _lost(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Broken("the server closed the connection"))


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A whole request as bytes."""
    fields = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
