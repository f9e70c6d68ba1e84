"""WebSockets on a connection: uvicorn's, that can be closed when the client reads nothing, and told things at once."""

from typing import Any, Final, Protocol

from starlette.types import Scope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

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


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    async def run_asgi(self) -> None:
        """Run the application, which finds the line in its scope."""
        self.scope["extensions"][LINE] = self  # type: ignore[assignment]
        await super().run_asgi()

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
