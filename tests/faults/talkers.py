"""People who talk in a room whatever dies: each comes again, and says again what nobody has acknowledged."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any
from uuid import uuid4

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.support.shop import Client


class Talker:
    """A client that comes to the next of the ports whenever its line is gone, behind the last place it has heard of.

    ``owed`` is what it has said and nobody has acknowledged, by its ``client_id``. ``heard`` are the frames of the
    room's events, ``acks`` the places that acks told, as they came. ``again`` counts messages that were sent once more.
    """

    def __init__(self, who: Client, room: str, ports: Sequence[int], first: int) -> None:
        self.who = who
        self.room = room
        self._ports = ports
        self._turns = count(first)
        self._socket: ClientConnection | None = None
        self._more = asyncio.Event()
        self._sent: set[str] = set()
        self.owed: dict[str, str] = {}
        self.said: list[str] = []
        self.heard: list[Any] = []
        self.acks: list[tuple[str, int]] = []
        self.acknowledged = asyncio.Event()
        self.welcomes = 0
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
        for turn in self._turns:
            port = self._ports[turn % len(self._ports)]
            try:
                async with connect(f"ws://127.0.0.1:{port}{self.room}/live", compression=None) as self._socket:
                    await self._converse(self._socket)
            except (OSError, EOFError, WebSocketException):
                await asyncio.sleep(0.02)

    async def _converse(self, socket: ClientConnection) -> None:
        token = self.who.headers["Authorization"].removeprefix("Bearer ")
        await socket.send(orjson.dumps({"type": "auth", "token": token, "after": self.place}).decode())
        speaking = asyncio.create_task(self._speak(socket))
        try:
            async for frame in socket:
                self._hear(orjson.loads(frame))
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _speak(self, socket: ClientConnection) -> None:
        sent: set[str] = set()
        while True:
            self._more.clear()
            for client_id in [each for each in self.owed if each not in sent]:
                message = {"type": "message", "client_id": client_id, "text": self.owed[client_id]}
                sent.add(client_id)
                self.again += client_id in self._sent
                self._sent.add(client_id)
                await socket.send(orjson.dumps(message).decode())
            await self._more.wait()

    def _hear(self, frame: Any) -> None:
        match frame["type"]:
            case "welcome":
                self.welcomes += 1
            case "ack":
                self.acks.append((frame["client_id"], frame["seq"]))
                self.owed.pop(frame["client_id"], None)
                self.acknowledged.set()
            case "error":
                self.hang_up()  # to come again and to say it again is all that a client can do
            case _:
                self.heard.append(frame)
