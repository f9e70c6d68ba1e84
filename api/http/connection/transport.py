"""The transport of a connection: what was said is heard before it closes, and no client is waited for without end."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

LINGER_SECONDS: Final = 10.0
LINGER_BYTES: Final = 256 * 1024 * 1024
"""How much is read away, and for how long, of what a client still sends when it has its answer (RFC 9112, 9.6)."""

MOST_HELD: Final = 64 * 1024
"""So many bytes wait at most for what follows them in the same turn of the loop."""

WRITE_SECONDS: Final = 30.0
WRITE_BYTES: Final = 64 * 1024
"""A client takes so much in so many seconds of what waits for it, or all that there is; else it is given up."""


def _nothing() -> bool:
    return False


class Transport:
    """asyncio's, within these bounds. ``owes`` tells whether the client has still to send some of its request.

    What is written in one turn of the loop goes out together: a system call and a segment for an answer's head, and
    again for its body, are dearer than anything else on a request's way.
    """

    __slots__ = ("_held", "_held_bytes", "_loop", "_owes", "_read_away", "_said", "_transport", "_watch", "lingers")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, owes: Callable[[], bool]) -> None:
        self._transport = transport
        self._loop = loop
        self._owes = owes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._read_away = 0
        self._said = 0
        self._watch: asyncio.TimerHandle | None = None
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Say it, at the end of this turn at the latest. Every answer passes here, also those that nobody waits for."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._said += self._held_bytes
            self._transport.write(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0
            self._watch_the_reader()

    def is_closing(self) -> bool:
        """Whether nothing more is to be said."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Close, at once only where the client owes nothing of its request."""
        if self.is_closing() or not self._owes():
            self.end()
        else:
            self.linger()

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """Say no more, and close when the client has, or has had its time."""
        self._flush()
        self.lingers, self._read_away = True, 0
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(seconds, self.end)

    def end(self) -> None:
        """Close when what was said is on its way: a transport waits for that without end, so it is still watched."""
        self._flush()
        self._transport.close()

    def begin_reading_away(self) -> None:
        """From here on nobody wants what comes."""
        self._read_away = 0

    def read_away(self, size: int) -> None:
        """Something came that nobody wants."""
        self._read_away += size
        if self._read_away > LINGER_BYTES:
            self._transport.abort()

    def forget(self) -> None:
        """The connection is no more, nor is whoever had it: the two knew each other, and no search might free them."""
        self._owes = _nothing
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def hand_on(self) -> None:
        """Another protocol has the connection: nothing of what was before it is owed, or kept."""
        self._owes = _nothing

    def _watch_the_reader(self) -> None:
        """One timer, however much is written."""
        if self._watch is None and (waiting := self._transport.get_write_buffer_size()):
            self._watch = self._loop.call_later(WRITE_SECONDS, self._look_at_the_reader, self._said - waiting)

    def _look_at_the_reader(self, taken_before: int) -> None:
        self._watch = None
        waiting = self._transport.get_write_buffer_size()
        if waiting and self._said - waiting - taken_before < WRITE_BYTES:
            self._transport.abort()
        else:
            self._watch_the_reader()
