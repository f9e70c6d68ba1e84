"""The read models of rooms: kept by consumers, rebuilt, and the same rows either way."""

import random
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import pytest

from domain.kernel.refusals import Refusal
from domain.rooms import (
    ROOMS,
    CloseRoom,
    InviteToRoom,
    JoinRoom,
    LeaveRoom,
    OpenRoom,
    PostMessage,
    Room,
    RoomCommand,
)
from infra.eventsourcing.projections.projection import Projection
from infra.settings import Settings
from projections.room_card import ROOM_CARD
from projections.room_member import ROOM_MEMBER
from projections.room_message import ROOM_MESSAGE
from tests.integration.read_models.test_replay import rebuilt, rows_of
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import Happening, expected_rows, stored_rows

pytestmark = pytest.mark.anyio

OF_ROOMS: Final = (ROOM_CARD, ROOM_MEMBER, ROOM_MESSAGE)


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


class Talk:
    """Deals what happens in a few rooms, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._people = [self._id() for _ in range(4)]
        self._rooms: dict[UUID, Room] = {}

    def happenings(self, count: int) -> list[Happening]:
        dealt: list[Happening] = []
        while len(dealt) < count:
            dealt += self._next()
        return dealt[:count]

    def _next(self) -> list[Happening]:
        if not self._rooms or self._random.random() < 0.1:
            room_id = self._id()
            owner, private = self._random.choice(self._people), self._random.random() < 0.5
            return self._done(room_id, OpenRoom(room_id=room_id, owner_id=owner, name='"Tea" \\ {Ü}', private=private))
        return self._done(self._random.choice([*self._rooms]), self._command())

    def _command(self) -> RoomCommand:
        who, other = self._random.choices(self._people, k=2)
        said = PostMessage(message_id=self._id(), author_id=who, text='"\\\n{Ü} 🍵', client_id=other.hex)
        moves: list[RoomCommand] = [
            JoinRoom(account_id=who, most=3),
            LeaveRoom(account_id=who, by=other),
            LeaveRoom(account_id=who, by=who),
        ]
        rare: list[RoomCommand] = [CloseRoom(by=who)] if self._random.random() < 0.1 else []
        return self._random.choice([said, said, *moves, InviteToRoom(account_id=other, by=who, most=3), *rare])

    def _done(self, room_id: UUID, command: RoomCommand) -> list[Happening]:
        room = self._rooms.get(room_id)
        try:
            events = ROOMS.decide(command, room)
        except Refusal:
            return []
        for event in events:
            room = ROOMS.evolve(room, event)
        if room is not None:
            self._rooms[room_id] = room
        return [Happening(room_id, room_id, ROOMS.category, event) for event in events]

    def _id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))


async def test_what_consumers_keep_of_rooms_is_what_the_log_tells_and_so_is_what_is_rebuilt(scene: Scene) -> None:
    talk = Talk(1)
    async with scene.relay(), scene.projector():
        await scene.writer.append(talk.happenings(200))
        await scene.kept()
        for projection in OF_ROOMS:
            await rebuilt(scene, projection)
        await scene.writer.append(talk.happenings(100))
        for projection in OF_ROOMS:
            await scene.kept_by(projection, 2)
    assert await stored_rows(scene.writer.session, ROOM_MESSAGE, 2) != {}


@pytest.mark.parametrize("projection", OF_ROOMS, ids=lambda projection: projection.name)
async def test_wherever_the_pages_of_a_rebuild_end_the_rows_are_the_same(
    scene: Scene, projection: Projection[Any]
) -> None:
    await scene.writer.append(Talk(2).happenings(120))
    expected = await expected_rows(scene.writer.session, projection)
    for generation, page in enumerate((1, 7, 1_000), start=2):
        await rebuilt(scene, projection, page=page)
        assert await stored_rows(scene.writer.session, projection, generation) == expected != {}
    assert await rows_of(scene, projection.table(4)) == await rows_of(scene, projection.table(3))
