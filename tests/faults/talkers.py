"""People who talk in a room whatever dies: each comes again, and says again what nobody has acknowledged."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from infra.concurrency.cancellation import cancel_and_wait
from tests.support.shop import Client


class Talker:
    """A client that comes again whenever its line is gone, to the first of the ports where an API answers.

    It says one thing after the other, each when the one before is acknowledged. ``owed`` is what is not, by its
    ``client_id``. ``heard`` are the frames of the room's events, ``acks`` the places that acks told, as they came.
    ``again`` counts messages that were sent once more.
    """

    def __init__(self, who: Client, room: str, ports: Sequence[int]) -> None:
        self.who = who
        self.room = room
        self._ports = ports
        self._socket: ClientConnection | None = None
        self._more = asyncio.Event()
        self._sent: set[str] = set()
        self.owed: dict[str, str] = {}
        self.said: list[str] = []
        self.heard: list[Any] = []
        self.acks: list[tuple[str, int]] = []
        self.acknowledged = asyncio.Event()
        self.welcomed_at: set[int] = set()
        self.again = 0

    @property
    def place(self) -> int:
        """The last that it has heard of."""
        return self.heard[-1]["seq"] if self.heard else 0

    @property
    def messages(self) -> list[Any]:
        """What it has heard people say, as the room's history tells it."""
        said = [frame for frame in self.heard if frame["type"] == "message"]
        return [{name: value for name, value in frame.items() if name != "type"} for frame in said]

    def say(self, messages: int) -> None:
        """So many, one right after the other."""
        for _ in range(messages):
            self.said.append(f"word {len(self.said)}")
            self.owed[uuid4().hex] = self.said[-1]
        self.acknowledged.clear()
        self._more.set()

    def hang_up(self) -> None:
        """Its line breaks."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def talk(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(OSError, EOFError, WebSocketException):
                async with await self._connected() as self._socket:
                    await self._converse(self._socket)
            await asyncio.sleep(0.02)

    async def _connected(self) -> ClientConnection:
        for port in self._ports:
            with suppress(ConnectionRefusedError):
                return await connect(f"ws://127.0.0.1:{port}{self.room}/live", compression=None)
        raise ConnectionRefusedError

    async def _converse(self, socket: ClientConnection) -> None:
        token = self.who.headers["Authorization"].removeprefix("Bearer ")
        await socket.send(orjson.dumps({"type": "auth", "token": token, "after": self.place}).decode())
        speaking = asyncio.create_task(self._speak(socket))
        try:
            async for frame in socket:
                self._hear(orjson.loads(frame), socket)
        finally:
            await cancel_and_wait(speaking)

    async def _speak(self, socket: ClientConnection) -> None:
        spoken = None
        while True:
            self._more.clear()
            client_id = next(iter(self.owed), None)
            if client_id not in (None, spoken):
                self.again += client_id in self._sent
                self._sent.add(client_id)
                message = {"type": "message", "client_id": client_id, "text": self.owed[client_id]}
                await socket.send(orjson.dumps(message).decode())
                spoken = client_id
            await self._more.wait()

    def _hear(self, frame: Any, socket: ClientConnection) -> None:
        match frame["type"]:
            case "welcome":
                self.welcomed_at.add(socket.remote_address[1])
            case "ack":
                self.acks.append((frame["client_id"], frame["seq"]))
                self.owed.pop(frame["client_id"], None)
                self.acknowledged.set()
                self._more.set()
            case "error":
                self.hang_up()  # to come again and to say it again is all that a client can do
            case _:
                self.heard.append(frame)
