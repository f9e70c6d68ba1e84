"""Every state of a connection has an end, whatever the client does or does not. Time passes when the test says so."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from api.http.connection.protocol import HEAD_SECONDS, LARGEST_HEAD
from api.http.connection.transport import LINGER_SECONDS, WRITE_BYTES, WRITE_SECONDS
from tests.support.serving import Line, serving
from tests.support.virtual_clock import Heard, VirtualClock, clocked
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

IDLE_SECONDS = 5.0
"""What uvicorn has by itself; ``weir serve`` tells it another figure."""
GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 64 * 1024 * 1024


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once, whatever may still come; on ``/read`` when all has come, on ``/large`` a lot."""
    assert scope["type"] == "http"
    while scope["path"] == "/read" and (await receive()).get("more_body", False):
        pass
    body = bytes(LARGE) if scope["path"] == "/large" else b"ok"
    headers = [(b"content-length", b"%d" % len(body)), (b"x-trailers", b"%d" % len(scope["headers"]))]
    if scope["path"] == "/refused":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    """A client before a server whose clock is the test's."""

    def __init__(self, line: Line, clock: VirtualClock, heard: Heard) -> None:
        self.line = line
        self.clock = clock
        self.heard = heard
        self._said = 0

    async def say(self, data: bytes) -> None:
        """Say it, and wait until the server has taken it in, or has hung up."""
        self._said += len(data)
        await self.line.say(data)

        async def taken() -> bool:
            return self.heard.over or self.heard.bytes == self._said

        await eventually(taken)

    async def is_given_up(self, seconds: float) -> bool:
        """Whether the server has hung up when so much time has passed."""
        self.clock.pass_time(seconds)
        for _ in range(4):  # what a timer has closed is told to the protocol in a later turn of the loop
            await asyncio.sleep(0)
        return self.heard.over

    async def held_for(self, drip: bytes, most: int) -> int:
        """For how many seconds a connection is held on which something drips once a second."""
        for second in range(most):
            if drip and not self.heard.over:
                await self.say(drip)
            if await self.is_given_up(1):
                return second + 1
        return most


@asynccontextmanager
async def before_the_server(*, receives: int = 0) -> AsyncIterator[Client]:
    """A client that has connected. ``receives``: how much its kernel takes in for it."""
    clock, heard = VirtualClock(), Heard()
    async with serving(app, clocked(clock, heard)) as port:
        with socket.socket() as raw:
            if receives:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 16)
            try:
                yield Client(Line(reader, writer), clock, heard)
            finally:
                writer.transport.abort()
                clock.pass_time(3600)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with before_the_server() as client:
        yield client


STATES = {
    "nothing is ever said": (b"", b"", HEAD_SECONDS),
    "blank lines before a head": (b"", b"\r\n", HEAD_SECONDS),
    "a head that does not go on": (b"GET / HTTP/1.1\r\n", b"", HEAD_SECONDS + LINGER_SECONDS),
    "a head that drips": (b"GET / HTTP/1.1\r\n", b"x: y\r\n", HEAD_SECONDS + LINGER_SECONDS),
    "nothing after an answer": (GET, b"", IDLE_SECONDS),
    "blank lines after an answer": (GET, b"\r\n", HEAD_SECONDS),
    "a second head that drips": (GET + GET[:16], b"x: y\r\n", HEAD_SECONDS + LINGER_SECONDS),
    "a late body that does not come": (POST % b"/", b"", LINGER_SECONDS),
    "a late body that drips": (POST % b"/", b"x", LINGER_SECONDS),
    "late chunks that drip": (CHUNKED % b"/", b"1\r\nx\r\n", LINGER_SECONDS),
    "a late chunk's size that drips": (CHUNKED % b"/" + b"1;", b"x", LINGER_SECONDS),
    "late trailers that drip": (CHUNKED % b"/" + b"0\r\n", b"x: y\r\n", LINGER_SECONDS),
    "a body that drips after the last answer": (POST % b"/refused", b"x", LINGER_SECONDS),
    "nothing after what is no request": (b"FOO / HTTP/1.1\r\n\r\n", b"", LINGER_SECONDS),
    "a drip after what is no request": (b"FOO / HTTP/1.1\r\n\r\n", b"x", LINGER_SECONDS),
    "nothing after a late body": (POST % b"/" + bytes(1_000_000), b"", IDLE_SECONDS),
}


@pytest.mark.parametrize(("begun", "drip", "seconds"), STATES.values(), ids=STATES)
async def test_no_connection_is_held_longer_than_its_state_allows(
    client: Client, begun: bytes, drip: bytes, seconds: float
) -> None:
    if begun:
        await client.say(begun)
        if b"\r\n\r\n" in begun or b"0\r\n" in begun:
            assert (await client.line.hear())[0]
    held = await client.held_for(drip, most=60)
    assert seconds <= held <= seconds + 1


async def test_a_late_body_that_comes_in_time_costs_nothing(client: Client) -> None:
    for _ in range(3):
        await client.say(POST % b"/")
        assert (await client.line.hear())[0].startswith(b"http/1.1 200")
        for _ in range(4):
            assert not await client.is_given_up(LINGER_SECONDS / 5)
            await client.say(bytes(250_000))
        assert not await client.is_given_up(IDLE_SECONDS - 1)


async def test_who_has_sent_its_late_body_may_rest_as_long_as_anybody(client: Client) -> None:
    """It is neither told to have sent half a head nor forgotten."""
    await client.say(POST % b"/" + bytes(1_000_000))
    assert (await client.line.hear())[0].startswith(b"http/1.1 200")
    assert not await client.is_given_up(IDLE_SECONDS - 1)
    await client.say(GET)
    assert (await client.line.hear())[0].startswith(b"http/1.1 200")


async def test_requests_that_come_together_are_no_large_head(client: Client) -> None:
    """However much of them is read at once, the end of one and the beginning of the next among it."""
    length = 3 * LARGEST_HEAD
    whole = (POST % b"/read").replace(b"1000000", b"%d" % length) + bytes(length)
    await client.say(whole + GET[:9])
    assert (await client.line.hear())[0].startswith(b"http/1.1 200")
    await client.say(GET[9:])
    assert (await client.line.hear())[0].startswith(b"http/1.1 200")


@pytest.mark.parametrize("path", [b"/read", b"/"])
@pytest.mark.parametrize(
    "endless", [b"0\r\n" + b"x: y\r\n" * 40_000, b"0\r\nx: " + b"y" * 200_000, b"1;" + b"x" * 200_000]
)
async def test_what_stands_beside_a_body_is_bounded_like_a_head(client: Client, path: bytes, endless: bytes) -> None:
    await client.say(CHUNKED % path)
    for at in range(0, len(endless), 8192):
        await client.say(endless[at : at + 8192])
    heads = [(await client.line.hear())[0] for _ in range(2 if path == b"/" else 1)]
    assert heads[-1].startswith(b"http/1.1 431")
    assert await client.line.hear() == (b"", b"")


async def test_trailers_become_no_headers(client: Client) -> None:
    await client.say(CHUNKED % b"/read" + b"1\r\nx\r\n0\r\nAuthorization: mine\r\n\r\n")
    head, _ = await client.line.hear()
    assert b"x-trailers: 2" in head


# --- Clients that do not read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [GET, GET * 3, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
async def test_who_takes_nothing_of_an_answer_is_given_up(asked: bytes) -> None:
    async with before_the_server(receives=4096) as client:
        await client.say(asked.replace(b" / ", b" /large "))

        async def waits() -> bool:
            return client.heard.waiting() > 0

        await eventually(waits)
        assert not await client.is_given_up(WRITE_SECONDS - 1)
        assert await client.is_given_up(2)


async def test_who_reads_slowly_gets_it_all() -> None:
    async with before_the_server(receives=4096) as client:
        await client.say(GET.replace(b" / ", b" /large "))
        await client.line.reader.readuntil(b"\r\n\r\n")
        left = LARGE
        while left:
            before = client.heard.waiting()
            part = min(left, 8 * 1024 * 1024)
            left -= len(await client.line.reader.readexactly(part))

            async def moved(before: int = before) -> bool:
                return client.heard.waiting() <= max(0, before - WRITE_BYTES)

            await eventually(moved)
            client.clock.pass_time(WRITE_SECONDS * 0.7)


async def test_who_reads_a_byte_now_and_then_is_given_up() -> None:
    async with before_the_server(receives=4096) as client:
        await client.say(GET.replace(b" / ", b" /large "))
        held = 0.0
        while not await client.is_given_up(1):
            await client.line.reader.read(16)
            held += 1
            assert held <= 2 * WRITE_SECONDS
