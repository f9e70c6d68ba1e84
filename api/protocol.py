"""HTTP/1.1 on a connection: uvicorn's, within bounds before a request is one, and with a problem for every refusal.

What the edge cannot see happens here: heads that never end or never come, requests that are none, offers of other
protocols (RFC 9110, 7.8: to be ignored), and clients that still send when they have been answered.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.errors import Problem, problem_answer
from api.middleware import LONGEST_HEADERS, LONGEST_TARGET, request_ids
from api.rules import ALWAYS

HEAD_SECONDS: Final = 10.0
"""From the first byte of a head, or from the beginning of the connection, until the head is complete."""

LARGEST_HEAD: Final = 2 * (LONGEST_HEADERS + LONGEST_TARGET)
"""So much of a head is kept before it is complete; what is complete by then is measured by the edge."""

MOST_HELD: Final = 64 * 1024
"""So many bytes wait at most for what follows them in the same turn of the loop."""

LINGER_SECONDS: Final = 10.0
LINGER_BYTES: Final = 256 * 1024 * 1024
"""How much is read away, and for how long, of what a client sends that was answered and is to go (RFC 9112, 9.6)."""

_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_METHOD: Final = re.compile(rb"(\r\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ ")

_next_id = request_ids().__next__


class _Refused(Exception):
    """Raised from within the parser, which wraps it: the request is not taken."""


class _Connection:
    """A transport that closes only when the client has heard the answer: until then what it sends is read away.

    What is written in one turn of the loop goes out together: an answer's head and its body, a call and a segment each,
    cost server and client 30 µs more apart than joined.
    """

    __slots__ = ("_held", "_held_bytes", "_loop", "_owes", "_received", "_transport", "lingers")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, owes: Callable[[], bool]) -> None:
        self._transport = transport
        self._loop = loop
        self._owes = owes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._received = 0
        self.lingers = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, at the end of this turn at the latest."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0

    def is_closing(self) -> bool:
        """Whether nothing more is to be said."""
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        """Close, at once only where the client owes nothing of its request."""
        self._flush()
        if self.lingers or self._transport.is_closing() or not self._owes():
            self._transport.close()
        else:
            self.linger()

    def linger(self) -> None:
        """Say no more, and close when the client has, or has had its time."""
        self._flush()
        self.lingers = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def discard(self, size: int) -> None:
        """Something came that nobody reads."""
        self._received += size
        if self._received > LINGER_BYTES:
            self._transport.close()


class _BehindHead:
    """Hears a parser for a connection that has heard the first head already."""

    def __init__(self, connection: "Protocol") -> None:
        self._connection = connection
        self._skipping = True
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def on_message_begin(self) -> None:
        if not self._skipping:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._skipping:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._skipping:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._skipping:
            self._connection.on_headers_complete()
        self._skipping = False


class Protocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin. A client that says nothing has as long as for a head."""
        self._connection = _Connection(transport, self.loop, self._owes_a_body)
        self._deaf = False
        self._in_head = True
        self._head_size = 0
        self._code: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(self._connection)  # type: ignore[arg-type]
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._connection.lingers:
            return self._connection.discard(len(data))
        if self._deaf:
            return None
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            return self._take_up(data[offer.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            begins = self._head_size == 0 and _METHOD.match(data) is not None
            return self._refuse("not-implemented" if begins else "malformed-request")
        except httptools.HttpParserError:
            return self._refuse(self._code or "malformed-request")
        if self._in_head or self._is_idle():
            self._head_size += len(data)
            if self._head_size > LARGEST_HEAD:
                return self._refuse("headers-too-large")
            self._await_head()
        return None

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_size = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete. Raises for one that no request can have."""
        self._in_head = False
        self._stop_waiting()
        self._code = self._unacceptable()
        if self._code is not None:
            raise _Refused
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is complete; after an offer of another protocol that is not known yet."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """RFC 6455, 4.1: a WebSocket begins with a GET."""
        return self.parser.get_method() == b"GET" and super()._should_upgrade()

    def _take_up(self, rest: bytes) -> None:
        """Another protocol was offered, and the parser has stopped behind the head."""
        if self._should_upgrade():
            self._stop_waiting()
            return self.handle_websocket_upgrade()
        # The offer is ignored: another parser reads on behind a head that says how long the body is, and no more.
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self.parser = httptools.HttpRequestParser(_BehindHead(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        return self.data_received(rest) if rest else None

    def _unacceptable(self) -> str | None:
        match self.parser.get_http_version():
            case "1.0" | "1.1":
                pass
            case "0.9":
                return "malformed-request"
            case _:
                return "version-not-supported"
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return "not-implemented" if codings not in ([], [b"chunked"]) else None  # RFC 9112, 6.1

    def _refuse(self, code: str) -> None:
        """Say why, if the line is free for it, and close."""
        self._stop_waiting()
        self._deaf = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False  # an earlier request is being answered: with that the connection ends
            return
        if cycle is None or cycle.response_complete or not cycle.response_started:
            request_id = _next_id()
            status, headers, body = problem_answer(Problem(code), request_id)
            told = [*headers, *ALWAYS, (b"content-length", b"%d" % len(body)), (b"x-request-id", request_id.encode())]
            lines = b"".join(b"%b: %b\r\n" % header for header in [*told, (b"connection", b"close")])
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self._connection.linger()

    def _owes_a_body(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or not cycle.more_body:
            return False
        self.flow.resume_reading()
        return True

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._head_size:
            self._refuse("request-timeout")
        else:
            self.transport.close()
