"""What clients of other makes send, as the bytes that they put on the line; and bytes that are no request at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest

from api.http.connection import protocol, transport
from api.http.policies.security_headers import Rules
from infra.settings import Settings
from tests.support.sample_edge import SampleEdge, sample_edge, with_state
from tests.support.sample_routes import ORDER_ID
from tests.support.serving import Line, connected, serving

pytestmark = pytest.mark.anyio

GOOD = b'{"carrier": "post", "pieces": 2}'
SHIP = b"POST /v1/orders/%b/ship HTTP/1.1\r\n" % ORDER_ID.encode()
GET = b"GET /v1/orders/%b HTTP/1.1\r\nHost: t\r\n\r\n" % ORDER_ID.encode()

# As the client of that name puts it on the line over plain HTTP.
OFFERS = {
    "Java HttpClient": b"Connection: Upgrade, HTTP2-Settings\r\nHost: t\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQ\r\nUpgrade: h2c\r\nUser-Agent: Java-http-client/21.0.1\r\n",
    "curl --http2": b"Host: t\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket on a POST": b"Host: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "TLS/1.0": b"Host: t\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n",
    "Go net/http": b"Host: t\r\nUser-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n",
    "undici": b"host: t\r\nconnection: keep-alive\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n"
    b"user-agent: node\r\naccept-encoding: gzip, deflate\r\n",
    "httpx": b"Host: t\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    b"User-Agent: python-httpx/0.28.1\r\n",
}
JSON = b"Content-Type: application/json\r\n"
WHOLE = JSON + b"Content-Length: %d\r\n\r\n" % len(GOOD), GOOD
CHUNKED = (
    JSON + b"Transfer-Encoding: chunked\r\n\r\n",
    b"7\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (
        GOOD[:7],
        len(GOOD) - 7,
        GOOD[7:],
    ),
)


@pytest.fixture
def sample() -> SampleEdge:
    return sample_edge()


@pytest.fixture
async def port(sample: SampleEdge) -> AsyncIterator[int]:
    async with serving(with_state(sample)) as port:
        yield port


@pytest.fixture
async def line(port: int) -> AsyncIterator[Line]:
    async with connected(port) as line:
        yield line


async def heard(line: Line) -> str:
    """The status of the next answer."""
    head, _ = await line.hear()
    return head[9:12].decode()


@pytest.mark.parametrize("body", [WHOLE, CHUNKED], ids=["whole", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_read(
    sample: SampleEdge, line: Line, offer: bytes, body: tuple[bytes, bytes]
) -> None:
    head, rest = SHIP + offer + body[0], body[1]
    for parts in ([head + rest], [head, rest], [head, *[rest[at : at + 1] for at in range(len(rest))]]):
        for part in parts:
            await line.say(part)
        answer, told = await line.hear()
        assert answer.startswith(b"http/1.1 200"), (answer, told)
    # Nor are two requests made of one, or one of two.
    await line.say(head + rest + GET + head + rest)
    assert [await heard(line) for _ in range(3)] == ["200"] * 3


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
async def test_a_request_without_a_body_is_answered_whatever_it_offers(line: Line, offer: bytes) -> None:
    await line.say(GET.replace(b"Host: t\r\n", offer) + GET)
    assert [await heard(line) for _ in range(2)] == ["200"] * 2


async def test_go_that_asks_first_is_told_to_go_on(line: Line) -> None:
    asks = b"Host: t\r\nUser-Agent: Go-http-client/1.1\r\nExpect: 100-continue\r\nAccept-Encoding: gzip\r\n"
    await line.say(SHIP + asks + WHOLE[0])
    assert await heard(line) == "100"
    await line.say(WHOLE[1] + GET)
    assert [await heard(line) for _ in range(2)] == ["200"] * 2


NO_REQUESTS = {
    "an unknown method": (b"FOO / HTTP/1.1\r\nHost: t\r\n\r\n", 501, "not-implemented"),
    "a coding beside chunked": (SHIP + b"Host: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "not-implemented"),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n\r\n", 400, "malformed-request"),
    "no version": (b"GET /\r\n\r\n", 400, "malformed-request"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: t\r\n\r\n", 505, "version-not-supported"),
    "HTTP/3.7": (b"GET / HTTP/3.7\r\nHost: t\r\n\r\n", 400, "malformed-request"),
    "raw UTF-8 in the target": (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: t\r\n\r\n", 400, "malformed-request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed-request"),
    "two lengths": (SHIP + b"Host: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed-request"),
    "length and chunks": (
        SHIP + b"Host: t\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "malformed-request",
    ),
    "a target of 70 kB": (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414, "uri-too-long"),
    "a query of a megabyte": (b"GET /?q=" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414, "uri-too-long"),
    "a target without end": (b"GET /" + b"x" * 1_000_000, 414, "uri-too-long"),
    "a long name": (b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x" * 1_000_000 + b": y\r\n\r\n", 431, "headers-too-large"),
    "a long value": (b"GET / HTTP/1.1\r\nHost: t\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n", 431, "headers-too-large"),
    "one header repeated": (
        b"GET / HTTP/1.1\r\nHost: t\r\n" + (b"x: " + b"y" * 1000 + b"\r\n") * 40 + b"\r\n",
        431,
        "headers-too-large",
    ),
    "many tiny ones": (b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x:\r\n" * 20_000 + b"\r\n", 431, "headers-too-large"),
    "a head without end": (b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: y\r\n" * 200_000, 431, "headers-too-large"),
}


@pytest.mark.parametrize(("sent", "status", "code"), NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_what_is_no_request_is_told_so_in_the_form_of_all_problems(
    line: Line, sent: bytes, status: int, code: str
) -> None:
    with contextlib.suppress(ConnectionError):
        await line.say(*[sent[at : at + 65536] for at in range(0, len(sent), 65536)])
    head, body = await line.hear()
    assert head.startswith(b"http/1.1 %d" % status), head
    assert b"content-type: application/problem+json" in head
    assert b"x-request-id: " in head
    problem = orjson.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)


async def test_what_is_no_request_behind_one_that_is_does_not_come_between_its_answer(line: Line) -> None:
    await line.say(GET + b"FOO / HTTP/1.1\r\n\r\n")
    head, body = await line.hear()
    assert head.startswith(b"http/1.1 200"), head
    assert b'"id"' in body
    rest, _ = await line.hear()
    assert rest == b"" or rest.startswith(b"http/1.1 501")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a head as long as in earnest."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("begun", "told"),
    [(b"", b""), (b"GET / HT", b"http/1.1 408"), (GET[:-2], b"http/1.1 408"), (GET[:-2] + b"x: y", b"http/1.1 408")],
)
async def test_a_head_that_does_not_come_in_time_is_not_waited_for(line: Line, begun: bytes, told: bytes) -> None:
    await line.say(begun)
    head, _ = await line.hear()
    assert head.startswith(told)
    assert await line.hear() == (b"", b"")


@pytest.mark.usefixtures("quick")
async def test_a_head_that_drips_is_not_waited_for_either(line: Line) -> None:
    async def drip() -> None:
        while True:
            await line.say(b"x: y\r\n")
            await asyncio.sleep(0.02)

    await line.say(b"GET / HTTP/1.1\r\n")
    dripping = asyncio.create_task(drip())
    head, _ = await line.hear()
    dripping.cancel()
    assert head.startswith(b"http/1.1 408")


@pytest.mark.usefixtures("quick")
async def test_the_second_head_of_a_connection_has_its_time_too(line: Line) -> None:
    await line.say(GET)
    assert await heard(line) == "200"
    await line.say(GET[:20])
    assert await heard(line) == "408"


async def test_a_body_that_comes_after_its_answer_is_no_head() -> None:
    """A preflight is answered by its head alone."""
    sample, size = sample_edge(Rules.of(Settings.model_validate({"cors_origins": "https://shop.example"}))), 500_000
    asked = b"Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\nContent-Length: %d\r\n\r\n" % size
    async with serving(with_state(sample)) as port, connected(port) as line:
        await line.say(GET.replace(b"GET", b"OPTIONS", 1)[:-2] + asked)
        assert await heard(line) == "204"
        await line.say(*[b"x" * 50_000] * (size // 50_000), GET)
        assert await heard(line) == "200"


async def test_who_sends_much_and_is_refused_hears_why(port: int) -> None:
    """The client sends all of it before it listens, as most do; nobody resets the line meanwhile."""
    size = 64 * 1024 * 1024
    async with connected(port) as line:
        head = SHIP + b"Host: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size
        line.writer.write(head)
        for _ in range(size // (1 << 20)):
            line.writer.write(b"x" * (1 << 20))
            await line.writer.drain()
        answer, body = await line.hear()
    assert answer.startswith(b"http/1.1 413"), answer
    assert orjson.loads(body)["code"] == "content-too-large"


async def test_what_is_read_away_is_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LINGER_BYTES", 1 << 20)
    size = 1 << 30

    async def send_all(line: Line) -> None:
        line.writer.write(SHIP + b"Host: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // (1 << 20)):
            line.writer.write(b"x" * (1 << 20))
            await line.writer.drain()

    async with connected(port) as line:
        with pytest.raises(ConnectionError):
            await send_all(line)
