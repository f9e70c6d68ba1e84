"""A whole answer in one write: what uvicorn does with two messages, for a head that is ours from end to end.

ASGI has an answer's head and its body come apart, and the server looks at each name and each value of the head for
itself: 7 % of what a hot read costs.
"""

from typing import Final

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from api.http.response import Headers

_CONTROLS: Final = bytes(each for each in (*range(0x20), 0x7F) if each != 0x09)
"""What no name and no value may contain (RFC 9110, 5.5)."""


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send an answer of which nothing has been sent. ``headers`` are lower-case and say how long the body is.

    By messages, unless ``send`` is the server's own: where others stand between, they have to see it.
    """
    cycle = getattr(send, "__self__", None)
    if type(cycle) is RequestResponseCycle and not cycle.access_log:
        await _write_whole(cycle, status, headers, body)
    else:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _write_whole(cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
    """As :meth:`RequestResponseCycle.send` would for both messages. Raises RuntimeError for a head that splits."""
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    parts = b"".join([part for header in headers for part in header])
    if len(parts.translate(None, _CONTROLS)) != len(parts):
        raise RuntimeError("Invalid HTTP header.")
    if b"close" in dict(headers).get(b"connection", b"").lower():
        cycle.keep_alive = False
    elif not cycle.keep_alive:
        headers = [*headers, (b"connection", b"close")]
    lines = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers + headers])
    shown = b"" if cycle.scope["method"] == "HEAD" else body
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, shown))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
