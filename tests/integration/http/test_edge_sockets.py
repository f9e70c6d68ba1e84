"""The edge on a real server and real sockets: what clients see when they lie, dawdle, overdo it or hang up."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from api.http.connection.protocol import Protocol
from api.http.connection.socket_protocol import SocketProtocol, frame_bytes, line_of
from tests.support.sample_edge import SampleEdge, sample_edge, with_state
from tests.support.sample_routes import ORDER_ID
from tests.support.serving import Line, connected, serving

pytestmark = pytest.mark.anyio

GOOD = b'{"carrier": "post", "pieces": 2}'
PATH = f"/v1/orders/{ORDER_ID}".encode()
GET = b"GET " + PATH + b" HTTP/1.1\r\nHost: t\r\n\r\n"
MIB = 1024 * 1024


def post(path: bytes = PATH + b"/ship", length: int | None = len(GOOD), more: bytes = b"") -> bytes:
    size = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return b"POST %b HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n%b\r\n%b\r\n" % (path, size, more)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
def sample() -> SampleEdge:
    return sample_edge()


@pytest.fixture
async def line(sample: SampleEdge) -> AsyncIterator[Line]:
    async with serving(with_state(sample)) as port, connected(port) as line:
        yield line


async def is_usable(line: Line) -> bool:
    """Whether the connection still answers a request."""
    head, _ = await line.ask(GET)
    return head.startswith(b"http/1.1 200")


async def test_commands_and_reads_share_a_connection(line: Line) -> None:
    head, body = await line.ask(post(), GOOD)
    assert head.startswith(b"http/1.1 200")
    assert b'\r\netag: "3"' in head
    assert b"\r\nserver:" not in head
    assert body.startswith(b'{"id":')
    assert await is_usable(line)


async def test_a_body_may_come_in_chunks_and_in_its_own_time(line: Line) -> None:
    await line.say(post(length=None), chunk(GOOD[:7]))
    head, _ = await line.ask(chunk(GOOD[7:]), b"0\r\n\r\n")
    assert head.startswith(b"http/1.1 200")


@pytest.mark.parametrize("length", [2 * MIB, None], ids=["whole", "chunked"])
async def test_two_mebibytes_are_refused_and_the_refusal_is_seen(line: Line, length: int | None) -> None:
    piece = b"x" * 65536
    parts = [piece if length else chunk(piece)] * 32 + ([] if length else [b"0\r\n\r\n"])
    head, body = await line.ask(post(length=length), *parts)
    assert head.startswith(b"http/1.1 413")
    assert b'"content-too-large"' in body
    assert await is_usable(line)


async def test_a_hundred_mebibytes_are_refused_by_their_length_alone(line: Line) -> None:
    head, _ = await line.ask(post(length=100 * MIB))
    assert head.startswith(b"http/1.1 413")
    assert b"connection: close" in head
    assert await line.hear() == (b"", b"")


async def test_who_asks_whether_to_send_too_much_is_told_not_to(line: Line) -> None:
    head, _ = await line.ask(post(length=2 * MIB, more=b"Expect: 100-continue\r\n"))
    assert head.startswith(b"http/1.1 413")


async def test_who_asks_whether_to_send_enough_is_told_to(line: Line) -> None:
    head, _ = await line.ask(post(more=b"Expect: 100-continue\r\n"))
    assert head == b"http/1.1 100 continue\r\n\r\n"
    head, _ = await line.ask(GOOD)
    assert head.startswith(b"http/1.1 200")


async def test_a_slow_body_costs_its_connection(line: Line) -> None:
    head, body = await line.ask(post(b"/v1/slow"), GOOD[:5])
    assert head.startswith(b"http/1.1 408")
    assert b'"request-timeout"' in body
    assert await line.hear() == (b"", b"")


async def test_a_client_that_hangs_up_halfway_disturbs_nobody(sample: SampleEdge) -> None:
    async with serving(with_state(sample)) as port:
        async with connected(port) as short:
            await short.say(post(length=len(GOOD) + 10), GOOD)
        async with connected(port) as another:
            assert await is_usable(another)
    labels = {"method": "POST", "route": "/v1/orders/{order_id}/ship", "status": "499"}
    assert sample.registry.get_sample_value("http_requests_total", labels) == 1


@pytest.mark.parametrize(
    "lie",
    [
        post(more=b"Transfer-Encoding: chunked\r\n"),
        post(more=b"Content-Length: 5\r\n"),
        post(more=b"X-Bad Name: 1\r\n"),
        b"POST / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["two kinds of length", "two lengths", "a bad name", "a bad version", "TLS"],
)
async def test_what_is_not_http_is_refused_by_the_server(line: Line, lie: bytes) -> None:
    head, _ = await line.ask(lie, GOOD)
    assert head.startswith(b"http/1.1 400")


async def test_bytes_beyond_the_length_are_no_part_of_the_body(line: Line) -> None:
    head, _ = await line.ask(post(), GOOD + b"smuggled")
    assert head.startswith((b"http/1.1 200", b"http/1.1 400"))


async def test_head_has_the_length_and_not_the_body(line: Line) -> None:
    await line.say(GET.replace(b"GET", b"HEAD", 1), GET)
    head = (await line.reader.readuntil(b"\r\n\r\n")).lower()
    assert b"content-length: 45" in head
    head, body = await line.hear()
    assert head.startswith(b"http/1.1 200")
    assert len(body) == 45


async def test_requests_sent_at_once_are_answered_in_turn(line: Line) -> None:
    await line.say(GET * 3 + post() + GOOD)
    assert [(await line.hear())[0][:12] for _ in range(4)] == [b"http/1.1 200"] * 4


async def test_a_stream_that_breaks_off_is_not_mistaken_for_a_whole_one(line: Line) -> None:
    broken = b"GET /v1/orders/00000000-0000-0000-0000-000000000001/events HTTP/1.1\r\nHost: t\r\n\r\n"
    await line.say(broken)
    async with asyncio.timeout(10):
        assert not (await line.reader.read()).endswith(b"0\r\n\r\n")


async def test_a_socket_is_closed_though_its_client_reads_nothing() -> None:
    told = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            with suppress(TimeoutError):
                while True:
                    await asyncio.wait_for(send({"type": "websocket.send", "bytes": bytes(64 * 1024)}), 0.2)
            await send({"type": "websocket.close", "code": 1013})
            told.set()

    async with (
        serving(app, ws=SocketProtocol) as port,
        connect(f"ws://127.0.0.1:{port}/", compression=None, max_queue=1) as socket,
    ):
        await asyncio.wait_for(told.wait(), 10)
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    assert socket.close_code == 1013


async def test_what_is_said_at_once_arrives_and_nothing_is_said_so_to_a_client_that_has_no_room_or_is_closed() -> None:
    said: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            line, frame = line_of(scope), frame_bytes("x" * 60_000)
            while not said or said[-1]:
                said.append(line.write_now(frame))
                await asyncio.sleep(0)
            await send({"type": "websocket.close", "code": 1013})
            said.append(line.write_now(frame))

    heard: list[str | bytes] = []
    async with (
        serving(app, ws=SocketProtocol) as port,
        connect(f"ws://127.0.0.1:{port}/", compression=None, max_queue=1) as socket,
        asyncio.timeout(20),
    ):
        while len(said) < 2 or any(said[-2:]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with suppress(ConnectionClosed):
            while True:
                heard.append(await socket.recv())
    assert socket.close_code == 1013
    assert heard == ["x" * 60_000] * sum(said)
    assert heard


async def test_an_open_socket_keeps_nothing_of_the_request_that_it_began_with() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": str(len(scope["headers"]) > 0)})
            while (await receive())["type"] != "websocket.disconnect":
                pass

    gc.collect()  # what earlier tests have left
    async with serving(app, ws=SocketProtocol) as port, connect(f"ws://127.0.0.1:{port}/", compression=None) as socket:
        assert await asyncio.wait_for(socket.recv(), 10) == "True"
        kept = [each for each in gc.get_objects() if type(each) is Protocol]
        (line,) = [each for each in gc.get_objects() if type(each) is SocketProtocol]
    assert not kept
    assert not line.request.headers
