"""A whole answer in one write is, byte for byte, what uvicorn would have sent of two messages."""

import asyncio
import logging
from itertools import product
from typing import Any, Final, cast

import pytest
from starlette.types import Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api.http.connection.whole_response import send_whole
from api.http.response import Headers

pytestmark = pytest.mark.anyio

DATE: Final = (b"date", b"Tue, 01 Dec 2026 00:00:00 GMT")
ANYBODY: Final = {"http_version": "1.1", "client": None}
ANSWERS: Final[list[tuple[int, Headers, bytes]]] = [
    (200, [(b"content-type", b"application/json"), (b"content-length", b"2")], b"{}"),
    (200, [(b"x-said", b"tab\tand \xc3\xbc"), (b"content-length", b"0")], b""),
    (204, [], b""),
    (304, [(b"etag", b'"7"')], b""),
    (413, [(b"content-length", b"3"), (b"connection", b"close")], b"no\n"),
    (426, [(b"content-length", b"0"), (b"connection", b"Upgrade, Close")], b""),
    (426, [(b"content-length", b"0"), (b"connection", b"upgrade")], b""),
]


class Wire:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.closed = True


class Exchange:
    """One request, and what its answer leaves behind."""

    def __init__(self, method: str, *, keep_alive: bool = True, access_log: bool = False) -> None:
        self.wire = Wire()
        self.ended = 0
        transport = cast(asyncio.Transport, self.wire)
        self.cycle = RequestResponseCycle(
            scope=cast(Any, {"type": "http", "method": method, "path": "/", "query_string": b""} | ANYBODY),
            transport=transport,
            flow=FlowControl(transport),
            logger=logging.getLogger("uvicorn.error"),
            access_logger=logging.getLogger("uvicorn.access"),
            access_log=access_log,
            default_headers=[DATE],
            message_event=asyncio.Event(),
            expect_100_continue=True,
            keep_alive=keep_alive,
            on_response=self._end,
        )

    def _end(self) -> None:
        self.ended += 1

    def left(self) -> tuple[object, ...]:
        cycle = self.cycle
        state = (cycle.response_started, cycle.response_complete, cycle.waiting_for_100_continue, cycle.keep_alive)
        return b"".join(self.wire.told), self.wire.closed, self.ended, cycle.message_event.is_set(), state


def by_messages(cycle: RequestResponseCycle) -> Send:
    """``send`` as whoever stands around the edge hands it on."""

    async def send(message: Any) -> None:
        await cycle.send(message)

    return send


@pytest.mark.parametrize(("method", "keep_alive"), [*product(["GET", "HEAD", "POST"], [True, False])])
async def test_what_is_sent_and_what_is_left_is_the_same_in_one_write(method: str, keep_alive: bool) -> None:
    for status, headers, body in ANSWERS:
        whole, parts = Exchange(method, keep_alive=keep_alive), Exchange(method, keep_alive=keep_alive)
        asked = [*headers]
        await send_whole(cast(Send, whole.cycle.send), status, asked, body)
        await send_whole(by_messages(parts.cycle), status, [*headers], b"" if method == "HEAD" else body)
        assert whole.left() == parts.left()
        assert (len(whole.wire.told), asked) == (1, headers)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("control", [b"\r", b"\n", b"\0", b"\x1f", b"\x7f"])
async def test_a_head_that_splits_is_sent_by_neither(control: bytes, place: int) -> None:
    spoiled = [b"x-said", b"something"]
    spoiled[place] += control + b"x: y"
    for wrap in (by_messages, lambda cycle: cast(Send, cycle.send)):
        exchange = Exchange("GET")
        with pytest.raises(RuntimeError, match="Invalid HTTP header"):
            await send_whole(wrap(exchange.cycle), 200, [(spoiled[0], spoiled[1])], b"")
        assert exchange.wire.told == []


async def test_who_has_hung_up_is_told_nothing_and_who_is_slow_is_waited_for() -> None:
    gone, slow = Exchange("GET"), Exchange("GET")
    gone.cycle.disconnected = True
    await send_whole(cast(Send, gone.cycle.send), 200, [(b"content-length", b"0")], b"")
    assert gone.left()[:3] == (b"", False, 0)
    slow.cycle.flow.pause_writing()
    telling = asyncio.create_task(send_whole(cast(Send, slow.cycle.send), 200, [(b"content-length", b"0")], b""))
    await asyncio.sleep(0)
    assert slow.wire.told == []
    slow.cycle.flow.resume_writing()
    await telling
    assert (len(slow.wire.told), slow.ended) == (1, 1)


async def test_a_server_that_logs_its_answers_has_them_by_message(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange("GET", access_log=True)
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        await send_whole(cast(Send, exchange.cycle.send), 204, [], b"")
    assert len(caplog.records) == 1
