"""A client of an event stream that never reads, at a real socket: it is cut off, and costs nobody anything."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Gauge

from api.http.event_stream import EventStream, Pace, event
from api.http.fast_route import router
from api.http.places import Places
from api.http.principal import Principal
from api.rate_limits.policies import limited
from tests.support.listening import listening
from tests.support.sample_edge import sample_edge, with_state
from tests.support.serving import serving

pytestmark = pytest.mark.anyio

PACE: Final = Pace(send=1.0)
FRAME: Final = event(b'"%b"' % (b"x" * 32_000), "1")
MOST: Final = 16 * 1024 * 1024
"""What the kernel takes for a client that does not read is a few megabytes; in a second a flood makes a hundred."""


class Flood:
    """A feed that is never at a loss. ``taken`` is how much of it was asked for."""

    place = "1"

    def __init__(self) -> None:
        self.taken = 0

    async def next(self, _seconds: float) -> Sequence[bytes]:
        await asyncio.sleep(0)
        self.taken += len(FRAME)
        return [FRAME]


class Ticks:
    """A feed that tells something every moment."""

    place = "1"

    async def next(self, _seconds: float) -> Sequence[bytes]:
        await asyncio.sleep(0.01)
        return [event(b"1", "1")]


class Telling:
    """Streams of these feeds, each under the name of its own."""

    def __init__(self, **feeds: Any) -> None:
        self._feeds = feeds
        self._taken = Gauge("streams", "Those that are open.", registry=CollectorRegistry())
        self._streams = Places(self._taken, most=2, each=1)
        self.routes = router()
        self.routes.get("/{name}")(limited("read")(self._tell))

    @property
    def open(self) -> float:
        (metric,) = self._taken.collect()
        return metric.samples[0].value

    async def _tell(self, name: str) -> EventStream:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Any]:
            yield self._feeds[name]

        async def holds() -> bool:
            return True

        return EventStream(self._streams, Principal(id=uuid4(), scopes=frozenset()), holds, opened, pace=PACE)


@asynccontextmanager
async def deaf_client(port: int, path: str) -> AsyncIterator[socket.socket]:
    """A connection with next to no room, on which a stream was asked for."""
    loop = asyncio.get_running_loop()
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.setblocking(False)
        await loop.sock_connect(line, ("127.0.0.1", port))
        await loop.sock_sendall(line, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield line


async def has_ended(line: socket.socket) -> None:
    """The other side has hung up, behind what was under way."""
    with suppress(ConnectionResetError):
        while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(line, 1 << 20), 10):
            pass


async def test_a_client_that_never_reads_is_cut_off_and_neither_delays_anybody_nor_fills_the_memory() -> None:
    flood = Flood()
    telling = Telling(flood=flood, ticks=Ticks())
    async with (
        serving(with_state(sample_edge(None, telling.routes))) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        listening(http, "/ticks", {}) as reader,
        deaf_client(port, "/flood") as deaf,
    ):
        heard, before = 0, 0
        async with asyncio.timeout(10 * PACE.send):
            while telling.open == 2 or not flood.taken:
                await reader.next()
                heard += flood.taken == before
                before = flood.taken
        assert heard >= 5, "while the other is waited for"
        assert flood.taken < MOST
        await has_ended(deaf)
        assert telling.open == 1
