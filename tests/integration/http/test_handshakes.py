"""Offers of a WebSocket: one that is whole is taken, and every other is no more than a header of its request.

RFC 9110, 7.8: an offer may be ignored. RFC 6455, 4: what a handshake is, and that nothing is said before its answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from fastapi import APIRouter
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.http.connection.socket_protocol import SocketProtocol
from api.http.policies.cors import Cors
from api.http.policies.security_headers import Rules
from api.http.policies.trusted_hosts import Hosts
from tests.support.sample_edge import SampleEdge, sample_edge, with_state
from tests.support.sample_routes import ORDER_ID
from tests.support.serving import Line, connected, in_this_process, port_of, serving

pytestmark = pytest.mark.anyio

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
OFFER = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + KEY
HOST = b"Host: shop.example\r\n"
SOCKET = b"GET /v1/echo HTTP/1.1\r\n"
ORDER = b"GET /v1/orders/%b HTTP/1.1\r\n" % ORDER_ID.encode()
PLAIN = ORDER + HOST + b"\r\n"


class Echo:
    """Says what it hears."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        with contextlib.suppress(Exception):
            while True:
                await socket.send_text(await socket.receive_text())


class Undecided:
    """Has not said yet whether it takes the socket."""

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            pass


def sockets() -> APIRouter:
    router = APIRouter()
    router.routes.append(WebSocketRoute("/v1/echo", Echo()))
    router.routes.append(WebSocketRoute("/v1/undecided", Undecided()))
    return router


@pytest.fixture
def sample() -> SampleEdge:
    rules = Rules(hosts=Hosts(["shop.example"]), cors=Cors(["https://site.example"]))
    return sample_edge(rules, sockets())


@pytest.fixture
def app(sample: SampleEdge) -> ASGIApp:
    return with_state(sample)


@pytest.fixture
async def port(app: ASGIApp) -> AsyncIterator[int]:
    async with serving(app, ws=SocketProtocol) as port:
        yield port


@pytest.fixture
async def line(port: int) -> AsyncIterator[Line]:
    async with connected(port) as line:
        yield line


def frame(text: bytes) -> bytes:
    """A client's: masked, with a mask that changes nothing."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


@pytest.mark.parametrize("target", [b"/v1/echo", b"/v1/echo?q=1", b"http://shop.example/v1/echo"])
async def test_a_whole_handshake_is_taken_and_what_follows_is_heard(line: Line, target: bytes) -> None:
    head, _ = await line.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + OFFER + b"\r\n")
    assert head.startswith(b"http/1.1 101")
    await line.say(frame(b"hello"))
    async with asyncio.timeout(10):
        assert await line.reader.readexactly(7) == b"\x81\x05hello"


async def test_a_socket_may_follow_requests_that_are_answered(line: Line) -> None:
    head, _ = await line.ask(PLAIN)
    assert head.startswith(b"http/1.1 200")
    head, _ = await line.ask(SOCKET + HOST + OFFER + b"\r\n")
    assert head.startswith(b"http/1.1 101")


# What is wrong with it, and what the request is told that it is besides.
NO_HANDSHAKES: dict[str, tuple[bytes, int, str]] = {
    "no host": (SOCKET + OFFER, 400, "malformed-header"),
    "two hosts": (SOCKET + HOST + HOST + OFFER, 400, "malformed-header"),
    "two hosts, the last is ours": (SOCKET + b"Host: evil.example\r\n" + HOST + OFFER, 400, "malformed-header"),
    "a host that is none": (SOCKET + b"Host: a b\r\n" + OFFER, 400, "malformed-header"),
    "a user in the host": (SOCKET + b"Host: a@b\r\n" + OFFER, 400, "malformed-header"),
    "a foreign host": (SOCKET + b"Host: evil.example\r\n" + OFFER, 421, "unknown-host"),
    "NUL in the query": (b"GET /v1/echo?q=%00 HTTP/1.1\r\n" + HOST + OFFER, 400, "malformed-request"),
    "NUL in the path": (b"GET /v1/echo%00 HTTP/1.1\r\n" + HOST + OFFER, 400, "malformed-request"),
    "a long query": (b"GET /v1/echo?q=" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + OFFER, 414, "uri-too-long"),
    "a very long header": (SOCKET + HOST + b"X-A: " + b"y" * 33_000 + b"\r\n" + OFFER, 431, "headers-too-large"),
    "many headers": (SOCKET + HOST + b"x: y\r\n" * 200 + OFFER, 431, "headers-too-large"),
    "a long header": (SOCKET + HOST + b"X-A: " + b"y" * 9000 + b"\r\n" + OFFER, 404, "not-found"),
    "HTTP/1.0": (b"GET /v1/echo HTTP/1.0\r\n" + HOST + OFFER, 404, "not-found"),
    "no key": (SOCKET + HOST + OFFER.replace(KEY, b""), 404, "not-found"),
    "two keys": (SOCKET + HOST + OFFER + KEY, 404, "not-found"),
    "a short key": (SOCKET + HOST + OFFER.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl"), 404, "not-found"),
    "another version": (SOCKET + HOST + OFFER.replace(b"13", b"12"), 404, "not-found"),
    "two offers": (SOCKET + HOST + b"Upgrade: h2c\r\n" + OFFER, 404, "not-found"),
    "an offer among others": (SOCKET + HOST + OFFER.replace(b": websocket", b": h2c, websocket"), 404, "not-found"),
    "a body": (SOCKET + HOST + b"Content-Length: 3\r\n" + OFFER, 404, "not-found"),
    "a body in chunks": (SOCKET + HOST + b"Transfer-Encoding: chunked\r\n" + OFFER, 404, "not-found"),
    "no socket there": (b"GET /v1/nowhere HTTP/1.1\r\n" + HOST + OFFER, 404, "not-found"),
    "a foreign host in the target": (
        b"GET http://evil.example/v1/echo HTTP/1.1\r\n" + HOST + OFFER,
        421,
        "unknown-host",
    ),
    "another method": (b"DELETE /v1/echo HTTP/1.1\r\n" + HOST + OFFER, 404, "not-found"),
    "a strange page": (SOCKET + HOST + b"Origin: https://evil.example\r\n" + OFFER, 403, "foreign-origin"),
}
BODIES = {"a body": b"abc", "a body in chunks": b"3\r\nabc\r\n0\r\n\r\n"}


@pytest.mark.parametrize(("sent", "status", "code"), NO_HANDSHAKES.values(), ids=NO_HANDSHAKES)
async def test_what_is_no_handshake_is_answered_as_the_request_that_it_is(
    line: Line, sent: bytes, status: int, code: str, request: pytest.FixtureRequest
) -> None:
    body = BODIES.get(request.node.callspec.id, b"")
    head, told = await line.ask(sent + b"\r\n" + body)
    assert head.startswith(b"http/1.1 %d" % status), (head, told)
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    assert orjson.loads(told)["code"] == code


@pytest.mark.parametrize("body", [b"", b"abc"], ids=["without a body", "with a body"])
async def test_where_there_is_no_socket_the_offer_is_ignored(line: Line, body: bytes) -> None:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    await line.say(ORDER + HOST + OFFER + length + b"\r\n" + body + PLAIN)
    heads = [(await line.hear())[0][:12] for _ in range(2)]
    assert heads == [b"http/1.1 400" if body else b"http/1.1 200", b"http/1.1 200"]


BEFORE: dict[str, Callable[[], bytes]] = {
    "reads": lambda: PLAIN * 3,
    "a slow one": lambda: b"GET /v1/orders/slow HTTP/1.1\r\n" + HOST + b"\r\n",
    "a command": lambda: (
        b"POST /v1/orders/%b/ship HTTP/1.1\r\n" % ORDER_ID.encode()
        + HOST
        + b'Content-Type: application/json\r\nContent-Length: 32\r\n\r\n{"carrier": "post", "pieces": 2}'
    ),
}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
async def test_an_offer_overtakes_no_answer(line: Line, before: Callable[[], bytes]) -> None:
    first = before()
    await line.say(first + SOCKET + HOST + OFFER + b"\r\n" + PLAIN)
    told = [(await line.hear())[0] for _ in range(first.count(b"HTTP/1.1") + 2)]
    assert [head[:12] for head in told[-2:]] == [b"http/1.1 404", b"http/1.1 200"]
    assert all(head.startswith(b"http/1.1 ") and b" 101 " not in head[:14] for head in told)


async def test_who_does_not_wait_for_the_answer_gets_no_socket(line: Line) -> None:
    head, told = await line.ask(SOCKET + HOST + OFFER + b"\r\n" + frame(b"hello"))
    assert head.startswith(b"http/1.1 400")
    assert orjson.loads(told)["code"] == "malformed-request"
    assert await line.hear() == (b"", b"")


LEFT = {
    "a handshake that is undecided": b"GET /v1/undecided HTTP/1.1\r\n" + HOST + OFFER + b"\r\n",
    "an open socket": SOCKET + HOST + OFFER + b"\r\n",
    "no handshake": SOCKET + HOST + b"X-A: " + b"y" * 9000 + b"\r\n" + OFFER + b"\r\n",
    "a body that never came": SOCKET + HOST + b"Content-Length: 3\r\n" + OFFER + b"\r\n",
}
BEHIND = {
    "nothing": b"",
    "text": frame(b"hello"),
    "a close": bytes([0x88, 0x80, 0, 0, 0, 0]),
    "no frame": b"\xff" * 64,
    "unmasked text": b"\x81\x05hello",
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
async def test_no_line_keeps_the_process_from_ending_the_others_well(app: ASGIApp, left: bytes, behind: bytes) -> None:
    begun = b"POST /v1/orders/%b/ship HTTP/1.1\r\n" % ORDER_ID.encode() + HOST
    begun += b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
    async with (
        in_this_process(app, ws=SocketProtocol) as server,
        connected(port_of(server)) as bad,
        connected(port_of(server)) as good,
    ):
        await bad.say(left)
        assert (await good.ask(PLAIN))[0].startswith(b"http/1.1 200")  # by now that was heard
        await bad.say(behind)
        await good.say(begun, b'{"carrier": "post", ')
        async with connected(port_of(server)) as another:
            assert (await another.ask(PLAIN))[0].startswith(b"http/1.1 200")  # by now both were heard
        server.should_exit = True
        while not server.server_state.ends:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        await good.say(b'"pieces": 2}')
        assert (await good.hear())[0].startswith(b"http/1.1 200")
        async with asyncio.timeout(10):
            while await bad.reader.read(1000):
                pass
