"""A server that ends answers what was said to it before a client could know: no request that was sent is broken off."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.http.connection.protocol import LAST_CALL_SECONDS
from api.http.connection.server import Server
from tests.support.serving import Line, connected, in_this_process, port_of
from tests.support.virtual_clock import Heard, VirtualClock, clocked
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


async def app(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with in_this_process(app, lifespan="off") as server:
        yield server


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Line]:
    async with connected(port_of(server)) as line:
        yield line


async def _told_to_end(server: Server) -> None:
    """From here on nobody is let in, and who is there is on a last request."""
    server.should_exit = True

    async def ends() -> bool:
        return server.server_state.ends

    await eventually(ends)


async def _is_the_last(line: Line) -> bool:
    head, body = await line.hear()
    return b"connection: close" in head and body == b"ok" and await line.hear() == (b"", b"")


async def test_a_connection_that_rests_may_say_one_thing_more(server: Server, line: Line) -> None:
    assert b"connection: close" not in (await line.ask(GET))[0]
    await _told_to_end(server)
    await line.say(GET)
    assert await _is_the_last(line)


async def test_a_connection_on_which_nothing_was_said_yet_may_say_one_thing(server: Server, line: Line) -> None:
    await _told_to_end(server)
    await line.say(GET)
    assert await _is_the_last(line)


async def test_a_head_that_has_begun_may_be_completed(server: Server, line: Line) -> None:
    await line.ask(GET)
    await line.say(GET[:9])
    await _told_to_end(server)
    await line.say(GET[9:])
    assert await _is_the_last(line)


async def test_what_comes_too_late_hears_an_end_and_no_reset() -> None:
    """A client that finds an end and no answer knows that its request was not taken (RFC 9112, 9.5)."""
    clock = VirtualClock()
    async with in_this_process(app, clocked(clock, Heard()), lifespan="off") as server:
        with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as line:
            line.sendall(GET)
            assert await asyncio.to_thread(line.recv, 4096)
            await _told_to_end(server)
            line.sendall(GET)  # it is on its way, and nobody has seen it yet
            clock.pass_time(LAST_CALL_SECONDS)
            assert await asyncio.to_thread(line.recv, 4096) == b""


class FoundWaiting(Server):
    """Connections of the kernel's making wait for it when it ends, each with its request."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.lines: list[socket.socket] = []

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for _ in range(40):  # without a turn of the loop, which would accept them
            self.lines.append(socket.create_connection(("127.0.0.1", port_of(self)), timeout=10))
            self.lines[-1].sendall(GET)
        await super().shutdown(sockets)


async def test_what_waits_to_be_accepted_is_answered() -> None:
    async with in_this_process(app, kind=FoundWaiting, lifespan="off") as server:
        pass
    assert isinstance(server, FoundWaiting)
    answers = []
    for line in server.lines:
        with line:
            answers.append(line.recv(4096).lower())
    assert [answer[:15] for answer in answers] == [b"http/1.1 200 ok"] * 40


async def test_nobody_holds_up_the_end_by_resting() -> None:
    """A client that never looks up from what it does, and so never hears of an end."""
    with socket.socket() as line:
        async with in_this_process(app, lifespan="off", timeout_graceful_shutdown=60) as server:
            await asyncio.to_thread(line.connect, ("127.0.0.1", port_of(server)))
            line.sendall(GET)
            await asyncio.to_thread(line.recv, 4096)
        assert not server.server_state.connections
