"""A room and its members, set up through Weir's public API."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.load.http_client import Client
from benchmarks.setting.shop import ADMIN_PASSWORD, JSON, asked, token_of

EACH: Final = 20
"""Sockets that one account may have open at a process."""
_HANDS = 4
_LONG = "\u8336" * 4_000


@dataclass(frozen=True, kw_only=True)
class Room:
    """Its id, and a token for each member."""

    id: str
    tokens: list[str]


async def room_for(port: int, sockets: int) -> Room:
    """A room with as many members as so many sockets need. Raises :class:`~benchmarks.failure.Failed`."""
    tokens = await members(port, -(-sockets // EACH))
    client = await Client.connect("127.0.0.1", port)
    try:
        answer = await asked(client, 201, "POST", "/v1/rooms", _by(tokens[0]), b'{"name":"Bench"}')
        for token in tokens[1:]:
            await asked(client, 200, "POST", f"/v1/rooms/{answer['id']}/members", _by(token), b"{}")
    finally:
        client.close()
    return Room(id=answer["id"], tokens=tokens)


async def fill(port: int, room: Room, messages: int) -> None:
    """Say so many long things in the room."""
    client = await Client.connect("127.0.0.1", port)
    path, headers = f"/v1/rooms/{room.id}/messages", _by(room.tokens[0])
    try:
        for _ in range(messages):
            await asked(client, 201, "POST", path, headers, json.dumps({"text": _LONG}).encode())
    finally:
        client.close()


async def members(port: int, count: int) -> list[str]:
    """The tokens of so many accounts, which are made for it."""
    shares = await asyncio.gather(*[_members(port, range(hand, count, _HANDS)) for hand in range(_HANDS)])
    return [token for share in shares for token in share]


async def _members(port: int, numbers: Sequence[int]) -> list[str]:
    client = await Client.connect("127.0.0.1", port)
    tokens = []
    try:
        for number in numbers:
            email = f"member{number}@bench.example"
            account = {"email": email, "username": f"member{number}", "password": ADMIN_PASSWORD}
            await asked(client, 201, "POST", "/v1/accounts", JSON, json.dumps(account).encode())
            tokens.append(await token_of(port, email, ADMIN_PASSWORD))
    finally:
        client.close()
    return tokens


def _by(token: str) -> dict[str, str]:
    return JSON | {"Authorization": f"Bearer {token}"}
