"""A bare WebSocket client of a room: it keeps what comes, with its time, and is looked at when the lap is over."""

import asyncio
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast

from benchmarks.load.http_client import Broken

_END = b"\r\n\r\n"
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A
_OFFER = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_ENTER_SECONDS = 30.0
_AT_ONCE = 50


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where a room is, and the tokens of its members, which are dealt to sockets in turn."""

    port: int
    room: str
    tokens: list[str]


class RoomSocket(asyncio.Protocol):
    """One socket. ``heard`` are the bytes behind the handshake as they came, in whatever pieces."""

    def __init__(self, door: Door, token: str, after: int | None) -> None:
        self._door = door
        self._auth = {"type": "auth", "token": token} | ({} if after is None else {"after": after})
        self._head: bytes | None = b""
        self.heard: list[tuple[float, bytes]] = []
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_OFFER.format(path=f"/v1/rooms/{self._door.room}/live").encode())
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._shake_hands(data)
            return
        self.heard.append((perf_counter(), data))
        if data[0] == _PING:
            self._transport.write(_frame(_PONG, data[2 : 2 + data[1]]))
        elif not self.entered.done():
            self.entered.set_result(None)

    def _shake_hands(self, data: bytes) -> None:
        self._head = (self._head or b"") + data
        if _END in self._head:
            if not self._head.startswith(b"HTTP/1.1 101"):
                self.entered.set_exception(Broken(f"no socket: {self._head[:200]!r}"))
            self._head = None
            self._transport.write(_frame(_TEXT, json.dumps(self._auth).encode()))

    def connection_lost(self, _reason: Exception | None) -> None:
        self.open = False
        if not self.entered.done():
            self.entered.set_exception(Broken("a socket was closed before its welcome"))

    def stop_reading(self) -> None:
        """From here on nothing is taken, not even by the kernel once its little is full."""
        self._transport.pause_reading()

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()


def whole_frames(pieces: Sequence[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Each frame of text, and when the last of it came."""
    rest = b""
    for at, piece in pieces:
        rest += piece
        while len(rest) > 3:
            begin = 4 if rest[1] == 126 else 2
            end = begin + (int.from_bytes(rest[2:4]) if begin == 4 else rest[1])
            if len(rest) < end:
                break
            if rest[0] == _TEXT:
                yield at, rest[begin:end]
            rest = rest[end:]


def _frame(kind: int, payload: bytes) -> bytes:
    """A client's frame: masked, by a mask of zeros (RFC 6455, 5.3)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2)
    return bytes([kind]) + length + bytes(4) + payload


async def enter(door: Door, count: int, *, after: int | None = None, deaf: bool = False) -> list[RoomSocket]:
    """So many sockets in the room, all welcomed. The deaf ones read no more from then on, and the kernel little."""
    sockets: list[RoomSocket] = []
    while len(sockets) < count:
        numbers = range(len(sockets), min(count, len(sockets) + _AT_ONCE))
        come = [_enter(door, door.tokens[number % len(door.tokens)], after, deaf) for number in numbers]
        sockets += await asyncio.gather(*come)
    return sockets


async def _enter(door: Door, token: str, after: int | None, deaf: bool) -> RoomSocket:
    loop = asyncio.get_running_loop()
    plug = socket.socket()
    if deaf:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.setblocking(False)
    await loop.sock_connect(plug, ("127.0.0.1", door.port))
    _, client = await loop.create_connection(lambda: RoomSocket(door, token, after), sock=plug)
    async with asyncio.timeout(_ENTER_SECONDS):
        await client.entered
    if deaf:
        client.stop_reading()
    return client
