"""Two people in a room, each at a WebSocket: what one says, the other hears."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from weir_client import AuthenticatedClient
from weir_client.api.accounts import read_me
from weir_client.api.rooms import add_room_member, open_room, remove_room_member
from weir_client.models import AccountCard, Receipt, RoomBody

from cli.demo.calls import fresh_key, step_of, told
from cli.demo.visit import Failed, Step, behind

SECONDS: Final = 15.0
"""How long a line may take."""


class Seat:
    """Somebody at a socket of the room."""

    def __init__(self, name: str, socket: ClientConnection) -> None:
        self.name = name
        self._socket = socket

    async def says(self, text: str) -> None:
        """Sends a line."""
        await self.sends({"type": "message", "client_id": fresh_key(), "text": text})

    async def sends(self, frame: Any) -> None:
        """Sends a frame."""
        with _connected():
            await self._socket.send(json.dumps(frame))

    async def hears(self, kind: str, **fields: Any) -> Any:
        """The next frame of that kind with these fields. Raises :class:`Failed` if none comes in time."""
        with _connected():
            async with asyncio.timeout(SECONDS):
                while True:
                    frame = json.loads(await self._socket.recv())
                    if frame["type"] == kind and fields.items() <= frame.items():
                        return frame


async def talk(
    api_url: str, asks: AuthenticatedClient, answers: AuthenticatedClient, topic: str
) -> AsyncIterator[Step]:
    """A customer opens a room, the staff come in, and each hears what the other says. Then the staff go again."""
    call = open_room.asyncio_detailed(client=asks, body=RoomBody(name=topic), idempotency_key=fresh_key())
    opened = await told(Receipt, call)
    yield step_of(opened, "room opened", topic)
    room = opened.document.id
    await told(Receipt, add_room_member.asyncio_detailed(room, client=answers, idempotency_key=fresh_key()))
    async with (
        seated(api_url, room, "the customer", asks) as customer,
        seated(api_url, room, "the staff", answers) as staff,
    ):
        yield await chat_line(customer, staff, "Does it whistle?")
        yield await chat_line(staff, customer, "It sings.")
    me = (await told(AccountCard, read_me.asyncio_detailed(client=answers))).document.id
    await told(Receipt, remove_room_member.asyncio_detailed(room, me, client=answers, idempotency_key=fresh_key()))


async def chat_line(speaker: Seat, listener: Seat, text: str) -> Step:
    """A line that one says and the other hears."""
    await speaker.says(text)
    heard = await listener.hears("message", text=text)
    return Step(title="chat line heard", detail=f"{speaker.name}: {text}", told_ms=behind(heard["at"]))


@asynccontextmanager
async def seated(api_url: str, room: UUID, name: str, client: AuthenticatedClient) -> AsyncIterator[Seat]:
    """Somebody who is let in, until the end of the block."""
    address = f"{api_url.replace('http', 'ws', 1)}/v1/rooms/{room}/live"
    with _connected():
        socket = await connect(address, compression=None, open_timeout=SECONDS)
    async with socket:
        seat = Seat(name, socket)
        await seat.sends({"type": "auth", "token": client.token})
        await seat.hears("welcome")
        yield seat


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except (OSError, WebSocketException, TimeoutError) as error:
        raise Failed(f"nothing was heard in the room: {type(error).__name__} {error}") from error
