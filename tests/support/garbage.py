"""What is left of something that has ended until a search for garbage frees it; and clients that leave nothing."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from tests.support.shop import Client, Shop
from tests.support.write_side import eventually

TIMES: Final = 10
ROUNDS: Final = 3

UNDER_UVLOOP: Final = pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
"""By the loop that serves; asyncio's own transports are garbage when they close."""

UPGRADE: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

Act = Callable[[], Awaitable[object]]


async def left_by(act: Act, over: Act) -> int:
    """Objects that are left by doing it :data:`TIMES` times, each of which is ``over`` then; below that: none of each.

    To be asked for where no other search is made. What is made once is made before. What the test has made ready, an
    account by a write side of its own, may come to its end in the middle of a round, but of one: what is left each time
    is there in each of them.
    """
    for _ in range(3):
        await act()
    return min([await _left_by(act, over) for _ in range(ROUNDS)])


async def _left_by(act: Act, over: Act) -> int:
    await over()
    gc.collect()
    for _ in range(TIMES):
        await act()
    await over()
    return gc.collect()


async def nobody_is_there(shop: Shop) -> None:
    """Returns when no connection is open and no request is answered."""
    state = shop.server.server_state

    async def idle() -> bool:
        return not state.connections and not state.tasks

    await eventually(idle)
    await asyncio.sleep(0)  # whoever ended last has a turn to be gone


def say(method: str, path: str, headers: str = "", body: bytes | None = None) -> bytes:
    """A request as it goes over the line."""
    told = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: t\r\n{headers}{told}\r\n".encode() + (body or b"")


def headers_of(client: Client) -> str:
    """The lines by which it is known."""
    return "".join(f"{name}: {value}\r\n" for name, value in client.headers.items())


async def said(port: int, *exchanges: tuple[bytes, bytes]) -> None:
    """A client says each of these when it has heard what comes behind the one before, and goes."""

    def talk() -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            for words, answer in exchanges:
                line.sendall(words)
                heard = b""
                while answer not in heard:
                    heard += (part := line.recv(65_536))
                    assert part, heard

    await asyncio.to_thread(talk)  # streams of asyncio's in this process would be garbage of theirs
