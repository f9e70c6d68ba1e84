"""The server within a worker: who says nothing is closed, and the many leave room for the few."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from infra.host import inner_server
from infra.host.inner_server import InnerProtocol, InnerServer
from tests.support.serving import Line, connected

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n"


async def _answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("well")


@asynccontextmanager
async def _serving() -> AsyncIterator[int]:
    app = Starlette(routes=[Route("/", _answer)])
    server = InnerServer(uvicorn.Config(app, port=0, http=InnerProtocol, lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def _ends(line: Line) -> bool:
    async with asyncio.timeout(10):
        return await line.reader.read() == b""


@pytest.mark.parametrize("said", [b"", b"GET / HT", ASK[:-2]], ids=["nothing", "half a line", "half a head"])
@pytest.mark.parametrize("first", [False, True], ids=["a new connection", "behind a request"])
async def test_what_is_not_asked_in_time_is_not_waited_for(
    said: bytes, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inner_server, "HEAD_SECONDS", 0.2)
    async with _serving() as port, connected(port) as line:
        if first:
            assert (await line.ask(ASK))[1] == b"well"
        await line.say(said)
        assert await _ends(line)


async def test_who_asks_in_time_may_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_server, "HEAD_SECONDS", 0.2)
    async with _serving() as port, connected(port) as line:
        for _ in range(2):
            assert (await line.ask(ASK))[1] == b"well"
            await asyncio.sleep(0.3)  # longer than a head may take


async def test_more_than_there_may_be_are_closed_and_the_others_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_server, "MOST_CONNECTIONS", 3)
    async with _serving() as port, AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(port)) for _ in range(3)]
        assert (await lines[2].ask(ASK))[1] == b"well"
        assert await _ends(await stack.enter_async_context(connected(port)))
        assert (await lines[0].ask(ASK))[1] == b"well"
