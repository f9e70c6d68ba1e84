"""HTTP/1.1 on a connection: uvicorn's, within bounds before a request is one, and with a problem for every refusal.

What the edge cannot see happens here: heads that never end or never come, requests that are none, offers of other
protocols (RFC 9110, 7.8: to be ignored), and clients that still send when they have been answered.
"""

import asyncio
import re
from enum import Enum
from typing import Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.errors import Problem, problem_answer
from api.http.connection.origin_form import origin_form
from api.http.connection.server import State
from api.http.connection.socket_protocol import is_handshake
from api.http.connection.transport import LINGER_SECONDS, Transport
from api.http.edge import request_ids
from api.http.policies.request_head import LONGEST_HEADERS, LONGEST_TARGET, LONGEST_URL
from api.http.policies.security_headers import ALWAYS
from api.http.socket_edge import SOCKETS
from infra.host.open_files import most_connections

HEAD_SECONDS: Final = 10.0
"""From the first byte of a head, or from the beginning of the connection, until the head is complete."""
LARGEST_HEAD: Final = 2 * (LONGEST_HEADERS + LONGEST_TARGET)
"""So much of a head is kept before it is complete; what is complete by then is measured by the edge."""
LAST_CALL_SECONDS: Final = 0.5
"""When the process ends, a client that rests has so long to say one thing more: what it sends just then is answered,
and the answer tells it to go. To close at once would break off requests that are on their way (RFC 9112, 9.5)."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_METHOD: Final = re.compile(rb"(\r\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]+ ")

_next_id = request_ids().__next__


class _Refused(Exception):
    """Raised from within the parser, which wraps it: the request is not taken."""


class _Phase(Enum):
    """What the client is sending, or is to send next."""

    FIRST = "the first head of the connection"
    HEAD = "a head, of which something has come"
    BODY = "a body"
    BETWEEN = "whatever it likes, or nothing"


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
        self._connection = Transport(transport, self.loop, self._owes_a_body)
        self._phase = _Phase.FIRST
        self._deaf = self._moved = self._opens = False
        self._framing = 0
        self._code: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(self._connection)  # type: ignore[arg-type]
        self._await_head()
        if len(self.connections) > most_connections():
            self.transport.close()
        elif self._ends:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self._connection.forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._connection.lingers:
            return self._connection.read_away(len(data))
        if self._deaf:
            return None
        self._unset_keepalive_if_required()
        if self._is_late():
            self._connection.read_away(len(data))
        self._moved = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            return self._take_up(data[offer.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            begins = self._framing == 0 and _METHOD.match(data) is not None
            return self._refuse("not-implemented" if begins else "malformed-request")
        except httptools.HttpParserError:
            return self._refuse(self._code or "malformed-request")
        return self._bound(len(data))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._phase, self._moved = _Phase.HEAD, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete. Raises for one that no request can have."""
        self._phase = _Phase.BODY
        self._stop_waiting()
        self._code = self._unacceptable()
        if self._code is not None:
            raise _Refused
        if not self.url.startswith(b"/"):
            self.url, self.headers[:] = origin_form(self.url, self.headers, self.parser.get_http_version())
        self._opens = self.parser.should_upgrade() and self._begins_socket()
        super().on_headers_complete()
        if self._ends:
            self.cycle.keep_alive = False
        self.headers = self.headers.copy()  # trailers are no headers of the request (RFC 9110, 6.5.1)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is complete; after an offer of another protocol that is not known yet."""
        if not self.parser.should_upgrade():
            self._phase, self._moved = _Phase.BETWEEN, True
            self._stop_waiting()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out. If some of its request has still to come, that is read away, within bounds."""
        super().on_response_complete()
        if self._is_late() and not self.transport.is_closing():
            self._connection.begin_reading_away()
            self._stop_waiting()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self._connection.end)

    def shutdown(self) -> None:
        """The process ends: what has begun is answered, what is said within a moment too, and with that it is over."""
        if self._has_nothing_to_answer():
            self.loop.call_later(LAST_CALL_SECONDS, self._last_call)
        elif self._phase is not _Phase.HEAD:  # a head has a bound of its own
            super().shutdown()

    def _last_call(self) -> None:
        """Half closed first: what comes all the same hears an end without an answer, and no reset."""
        if self._has_nothing_to_answer() and not self.transport.is_closing():
            self._stop_waiting()
            self._connection.linger(LAST_CALL_SECONDS)

    def _has_nothing_to_answer(self) -> bool:
        return self._phase is _Phase.FIRST or self._is_idle()

    @property
    def _ends(self) -> bool:
        return isinstance(self.server_state, State) and self.server_state.ends

    def _bound(self, size: int) -> None:
        """Sees to it that what is waited for now has an end, and that what is kept of it has one, too.

        What is no body (heads, chunks' sizes, trailers) is counted, as the parser keeps lines until they are complete.
        """
        self._framing = 0 if self._moved else self._framing + size
        if self._framing > LARGEST_HEAD:
            return self._refuse("uri-too-long" if len(self.url) > LONGEST_TARGET else "headers-too-large")
        if self._phase in (_Phase.FIRST, _Phase.HEAD) or (self._is_idle() and not self._moved):
            return self._await_head()
        if self._is_idle():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        return None

    def _should_upgrade(self) -> bool:
        return self._opens

    def _begins_socket(self) -> bool:
        """Whether it is a whole handshake for a socket that there is, and nothing else has to be answered before.

        Every other offer is ignored (RFC 9110, 7.8): the request is one like any, and whatever is to be said of it the
        edge says. What comes of one, on the other hand, nobody looks at again.
        """
        before: RequestResponseCycle | None = self.cycle
        if not self._should_upgrade_to_ws() or (before is not None and not before.response_complete):
            return False
        lines = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        version = self.parser.get_http_version().encode()
        if not is_handshake(b"%b %b HTTP/%b\r\n%b\r\n" % (self.parser.get_method(), self.url, version, lines)):
            return False
        path, _, query = self.url.partition(b"?")
        asked = {**self.scope, "type": "websocket", "path": unquote(path.decode("ascii")), "query_string": query}
        return bool(self.app_state.get(SOCKETS, lambda _: True)(asked))

    def _take_up(self, rest: bytes) -> None:
        """Another protocol was offered, and the parser has stopped behind the head."""
        if self._should_upgrade():
            if rest:  # a client waits for the answer (RFC 6455, 4.1), so this is none
                return self._refuse("malformed-request")
            self._stop_waiting()
            self._phase = _Phase.BETWEEN  # the request is whole: nothing of it is waited for when the socket closes
            self.handle_websocket_upgrade()
            # This object and its parser know each other, and the connection knows it: they would live as long as that.
            self._connection.hand_on()
            self.parser = None  # type: ignore[assignment]
            return None
        # The offer is ignored: another parser reads on behind a head that says how long the body is, and no more.
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self.parser = httptools.HttpRequestParser(_BehindHead(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        return self.data_received(rest) if rest else None

    def _unacceptable(self) -> str | None:
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            return "malformed-request" if version == "0.9" else "version-not-supported"
        if len(self.url) > LONGEST_URL:
            return "uri-too-long"  # RFC 9112, 3
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return "not-implemented" if codings and codings != [b"chunked"] else None  # RFC 9112, 6.1

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
        if self._phase is not _Phase.BODY:
            return False
        self.flow.resume_reading()
        return True

    def _has_answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.response_complete

    def _is_late(self) -> bool:
        """Whether a body comes after its answer."""
        return self._phase is _Phase.BODY and self._has_answered()

    def _is_idle(self) -> bool:
        return self._phase is _Phase.BETWEEN and self._has_answered()

    def _await_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._phase is _Phase.HEAD:
            self._refuse("request-timeout")
        else:
            self.transport.close()
