"""The proxy that tests cut lines with: once it is closed there are none, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.proxy import Proxy, proxy_before

pytestmark = pytest.mark.anyio


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def said(proxy: Proxy) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    try:
        yield reader
    finally:
        writer.close()


async def heard(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(5)
    except ConnectionError:
        return b""


async def test_a_line_that_was_being_made_when_the_proxy_was_closed_is_cut_like_those_that_were_there() -> None:
    async with asyncio.timeout(10), await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with proxy_before(f"tcp://{host}:{port}") as proxy, said(proxy) as there:
            assert await heard(there) == b"hello"
            proxy.stall()
            async with said(proxy) as late:
                await proxy.close()
                assert [await heard(there), await heard(late)] == [b"", b""]
            await proxy.open()
            async with said(proxy) as new:
                assert await heard(new) == b"hello"
