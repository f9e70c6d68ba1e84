"""WebSockets on a connection: uvicorn's, that can be closed when the client reads nothing, and told things at once."""

from http import HTTPStatus
from typing import Any, Final, Protocol

from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from infra.concurrency.flag import Flag

LINE: Final = "weir.line"
"""Where among the scope's extensions stands the :class:`Line` of a socket."""


class Line(Protocol):
    """The way to a socket's client for frames that are the same for many: made once, and written as they are."""

    def write_now(self, frame: bytes) -> bool:
        """Whether it was said: not where the client has to make room first, or is gone. Never waits."""


class _NoLine:
    def write_now(self, _frame: bytes) -> bool:
        return False


def line_of(scope: Scope) -> Line:
    """That of a socket; under a server that knows no such thing all frames go the other way."""
    line: Line = scope.get("extensions", {}).get(LINE) or _NoLine()
    return line


def frame_bytes(text: str) -> bytes:
    """A frame of text, whole and not compressed, as a server sends it (RFC 6455, 5.2)."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def is_handshake(head: bytes) -> bool:
    """Whether it is one in every point (RFC 6455, 4.2.1), as the library sees it that will have to take it."""
    asked = ServerProtocol()
    asked.receive_data(head)
    return any(
        isinstance(event, Request) and asked.accept(event).status_code == HTTPStatus.SWITCHING_PROTOCOLS
        for event in asked.events_received()
    )


class _Inbox:
    """What an ``asyncio.Queue`` is to its protocol, in a tenth of the memory."""

    __slots__ = ("_came", "_waiting")

    def __init__(self) -> None:
        self._came = Flag()
        self._waiting: list[Any] = []

    def put_nowait(self, message: Any) -> None:
        self._waiting.append(message)
        self._came.set()

    async def get(self) -> Any:
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        return self._waiting.pop(0)

    def empty(self) -> bool:
        return not self._waiting


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection. It keeps no more than it needs: there are thousands that nothing is said on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = _Inbox()  # type: ignore[assignment]
        self.writable = Flag()  # type: ignore[assignment]
        self.writable.set()

    def handle_connect(self, event: Request) -> None:
        """Begin. The scope has the headers from here on."""
        super().handle_connect(event)
        event.headers.clear()

    def data_received(self, data: bytes) -> None:
        """Hear what came. Who does not wait for the answer to a handshake (RFC 6455, 4.1) speaks something else."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()
        else:
            super().data_received(data)

    async def run_asgi(self) -> None:
        """Run the application, which finds the line in its scope."""
        self.scope["extensions"][LINE] = self  # type: ignore[assignment]
        try:
            await super().run_asgi()
        finally:
            del self.scope["extensions"][LINE]  # else the two would know each other, and no search might free them

    def write_now(self, frame: bytes) -> bool:
        """Say it, unless it would have to wait."""
        if not self.writable.is_set() or self.close_sent or self.disconnected or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True

    async def send(self, message: Any) -> None:
        """Say it, when the client has made room for it; its close comes behind whatever waits.

        Nothing follows a close, and the transport (:mod:`api.http.connection.transport`) gives up a client that does
        not take what is left.
        """
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
