"""Every state that a room of three people can come to, breadth first: rules, shares and read models agree in each.

Commands are made of their fields, so that a new one is walked as soon as it is one of the room's.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Final, get_args
from uuid import UUID

import pytest

from domain.kernel.refusals import DoesNotExist, Refusal
from domain.rooms import (
    INVITATION,
    MEMBERSHIP,
    ROOMS,
    OpenRoom,
    PostMessage,
    Room,
    RoomClosed,
    RoomCommand,
    RoomEvent,
    RoomMessagePosted,
)
from projections.room_card import ROOM_CARD, RoomStatus
from projections.room_member import ROOM_MEMBER, Standing
from tests.unit.shop.test_projections import record

ROOM, ADA, BOB, EVE, MESSAGE = [UUID(int=number) for number in range(1, 6)]
PEOPLE: Final = (ADA, BOB, EVE)
SEATS: Final = 3
VALUES: Final[Mapping[str, Sequence[Any]]] = {
    "account_id": PEOPLE,
    "author_id": PEOPLE,
    "by": PEOPLE,
    "message_id": (MESSAGE,),
    "text": ("hello",),
    "client_id": (None,),
    "most": (SEATS,),
}
"""What is tried for a command's field of this name."""
WHO_ASKS: Final = ("by", "author_id", "account_id")
"""The field that says it: the first of these that a command has."""
MOST: Final = 2_000


def commands() -> Iterator[RoomCommand]:
    for kind in get_args(RoomCommand):
        if kind is not OpenRoom:
            names = [field.name for field in fields(kind)]
            for values in product(*(VALUES[name] for name in names)):
                yield kind(**dict(zip(names, values, strict=True)))


COMMANDS: Final = tuple(commands())


def asker(command: RoomCommand) -> UUID:
    who: UUID = next(getattr(command, name) for name in WHO_ASKS if hasattr(command, name))
    return who


@dataclass(frozen=True, kw_only=True)
class Life:
    """A room with all that has happened in it."""

    room: Room
    happened: tuple[RoomEvent, ...]

    @property
    def place(self) -> object:
        """What tells it from other states."""
        room = self.room
        return (
            room.private,
            room.owner_id,
            tuple(sorted(room.members, key=room.members.__getitem__)),
            room.invited,
            room.closed,
        )

    @property
    def told(self) -> list[str]:
        return [type(event).__name__ for event in self.happened]


def after(life: Life, events: Sequence[RoomEvent]) -> Life:
    room = life.room
    for event in events:
        room = ROOMS.evolve(room, event) or room
    return Life(room=room, happened=(*life.happened, *events))


def begun(*, private: bool) -> Life:
    (opened,) = ROOMS.decide(OpenRoom(room_id=ROOM, owner_id=ADA, name="Tea", private=private), None)
    room = ROOMS.evolve(None, opened)
    assert room is not None
    return Life(room=room, happened=(opened,))


def following(life: Life) -> Iterator[Life]:
    for command in COMMANDS:
        try:
            events = ROOMS.decide(command, life.room)
        except Refusal:
            continue
        if events:
            yield after(life, events)


def walked() -> list[Life]:
    """A life to each state, by each event that leads there."""
    found: dict[object, Life] = {}
    ahead = deque([begun(private=False), begun(private=True)])
    while ahead:
        life = ahead.popleft()
        arrival = life.place, type(life.happened[-1])
        if arrival not in found:
            found[arrival] = life
            assert len(found) < MOST
            ahead.extend(following(life))
    return list(found.values())


LIVES: Final = walked()


def shares(life: Life, scope: str) -> set[UUID]:
    """Whose shares of that scope the append keeps."""
    held: set[UUID] = set()
    for event in life.happened:
        for share in ROOMS.allowances(event):
            if share.scope == scope:
                (held.discard if share.released else held.add)(share.owner)
    return held


def member_rows(life: Life) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for version, event in enumerate(life.happened, start=1):
        if type(event) in ROOM_MEMBER.handles:
            told = replace(record(event, version, version), stream_id=ROOM)
            key = ROOM_MEMBER.key(told)
            rows[key] = ROOM_MEMBER.project(rows.get(key), told)
    return {key: row for key, row in rows.items() if row is not None}


def test_the_walk_comes_by_every_event() -> None:
    assert {type(event) for life in LIVES for event in life.happened} == set(get_args(RoomEvent))


def test_a_room_has_an_owner_as_long_as_somebody_is_in_it_and_is_closed_when_nobody_is() -> None:
    for life in LIVES:
        room = life.room
        assert (room.owner_id in room.members) if room.members else (room.owner_id is None and room.closed), life.told
        assert not room.members.keys() & room.invited, life.told
        assert room.seats_taken <= SEATS, life.told
        assert room.version == len(life.happened)


def test_the_shares_that_the_append_keeps_are_those_who_are_in_the_room_and_asked_in() -> None:
    for life in LIVES:
        assert shares(life, MEMBERSHIP) == life.room.members.keys(), life.told
        assert shares(life, INVITATION) == life.room.invited, life.told


def test_the_read_models_tell_the_same_in_every_state() -> None:
    for life in LIVES:
        rows = {row.account_id: row.standing for row in member_rows(life).values()}
        members = dict.fromkeys(life.room.members, Standing.MEMBER)
        assert rows == members | dict.fromkeys(life.room.invited, Standing.INVITED), life.told
        card = None
        for version, event in enumerate(life.happened, start=1):
            card = ROOM_CARD.project(card, record(event, version, version))
        assert card is not None
        assert (card.owner_id, card.version) == (life.room.owner_id, life.room.version)
        assert (card.status is RoomStatus.CLOSED) is life.room.closed


def test_a_private_room_is_not_there_for_whoever_is_neither_in_it_nor_asked_in() -> None:
    for life in LIVES:
        room = life.room
        strangers = set(PEOPLE) - room.members.keys() - room.invited if room.private else set()
        for command in COMMANDS:
            if asker(command) in strangers:
                with pytest.raises(DoesNotExist):
                    ROOMS.decide(command, room)


def test_only_members_are_heard_and_nobody_in_a_closed_room() -> None:
    for life in LIVES:
        for command in COMMANDS:
            if isinstance(command, PostMessage):
                heard = command.author_id in life.room.members and not life.room.closed
                assert speaks(command, life.room) is heard, life.told
        closed = [type(event) for event in life.happened].index(RoomClosed) if life.room.closed else len(life.happened)
        assert not any(isinstance(event, RoomMessagePosted) for event in life.happened[closed:])


def speaks(command: RoomCommand, room: Room) -> bool:
    try:
        return bool(ROOMS.decide(command, room))
    except Refusal:
        return False


def test_what_is_done_already_changes_nothing() -> None:
    for life in LIVES:
        for command in COMMANDS:
            if isinstance(command, PostMessage):
                continue
            try:
                once = after(life, ROOMS.decide(command, life.room))
                again = ROOMS.decide(command, once.room)
            except Refusal:
                continue
            assert again == [], (life.told, command)
