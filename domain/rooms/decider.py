"""The decider of rooms: the state, and the rules that lead from one event to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never
from uuid import UUID

from domain.kernel.decider import Decider
from domain.kernel.refusals import AlreadyExists, DoesNotExist
from domain.rooms.allowances import allowances
from domain.rooms.messages import (
    CloseRoom,
    InviteToRoom,
    JoinRoom,
    LeaveRoom,
    NotRoomMember,
    NotRoomOwner,
    OpenRoom,
    PostMessage,
    RoomClosed,
    RoomCommand,
    RoomEvent,
    RoomFull,
    RoomInvitationWithdrawn,
    RoomInvited,
    RoomJoined,
    RoomLeft,
    RoomMessagePosted,
    RoomNotOpen,
    RoomOpened,
)
from domain.values import foreign_id, line, text

LONGEST_NAME: Final = 100
LONGEST_TOPIC: Final = 300
LONGEST_MESSAGE: Final = 4_000
LONGEST_CLIENT_ID: Final = 100


@dataclass(frozen=True, kw_only=True)
class Room:
    """A room as its events leave it: who is in it, and nothing of what was said.

    ``members`` are told with the version at which each came: when the owner goes, the one who has been there longest
    owns the room. None owns a room that nobody is left in.
    """

    room_id: UUID
    owner_id: UUID | None
    private: bool
    members: Mapping[UUID, int] = field(default_factory=dict)
    invited: frozenset[UUID] = frozenset()
    closed: bool = False
    version: int = 0

    @property
    def seats_taken(self) -> int:
        """Whoever is asked in has a seat already."""
        return len(self.members) + len(self.invited)


def decide(command: RoomCommand, room: Room | None) -> Sequence[RoomEvent]:
    """What the command changes; nothing if it is so already. A private room is not there for whoever is not in it."""
    if isinstance(command, OpenRoom):
        return _open(command, room)
    known = _known(room)
    match command:
        case InviteToRoom():
            return _invite(command, known)
        case JoinRoom():
            return _join(command, known)
        case LeaveRoom():
            return _leave(command, known)
        case PostMessage():
            return _post(command, known)
        case CloseRoom():
            return _close(command, known)
        case _:
            assert_never(command)


def evolve(room: Room | None, event: RoomEvent) -> Room:
    """The room after the event."""
    if isinstance(event, RoomOpened):
        return _opened(event)
    known = _known(room)
    after = replace(known, version=known.version + 1)
    match event:
        case RoomMessagePosted():
            return after
        case RoomInvited() | RoomInvitationWithdrawn() | RoomJoined() | RoomLeft():
            return _after_moving(after, event)
        case RoomClosed():
            return replace(after, closed=True)
        case _:
            assert_never(event)


def _after_moving(room: Room, event: RoomInvited | RoomInvitationWithdrawn | RoomJoined | RoomLeft) -> Room:
    account_id = event.account_id
    match event:
        case RoomInvited():
            return replace(room, invited=room.invited | {account_id})
        case RoomInvitationWithdrawn():
            return replace(room, invited=room.invited - {account_id})
        case RoomJoined():
            members = {**room.members, account_id: room.version}
            return replace(room, members=members, invited=room.invited - {account_id})
        case RoomLeft():
            return replace(room, members=_without(room, account_id), owner_id=event.owner_id)
        case _:
            assert_never(event)


def _open(command: OpenRoom, room: Room | None) -> Sequence[RoomEvent]:
    if room is not None:
        raise AlreadyExists("the room is open already")
    topic = command.topic
    return [
        RoomOpened(
            room_id=command.room_id,
            owner_id=command.owner_id,
            name=line(command.name, "/name", longest=LONGEST_NAME),
            topic=None if topic is None else line(topic, "/topic", longest=LONGEST_TOPIC),
            private=command.private,
        )
    ]


def _invite(command: InviteToRoom, room: Room) -> Sequence[RoomEvent]:
    _owned(room, command.by)
    _open_still(room)
    if command.account_id in room.members or command.account_id in room.invited:
        return []
    _seat(room, command.most)
    return [RoomInvited(room_id=room.room_id, account_id=command.account_id, by=command.by)]


def _join(command: JoinRoom, room: Room) -> Sequence[RoomEvent]:
    guest = command.account_id
    _seen(room, guest)
    if guest in room.members:
        return []
    _open_still(room)
    if guest not in room.invited:
        _seat(room, command.most)
    return [RoomJoined(room_id=room.room_id, account_id=guest)]


def _leave(command: LeaveRoom, room: Room) -> Sequence[RoomEvent]:
    goes, by = command.account_id, command.by
    if by == goes:
        _seen(room, by)
    else:
        _owned(room, by)
    if goes in room.invited:
        return [RoomInvitationWithdrawn(room_id=room.room_id, account_id=goes, by=by)]
    if goes not in room.members:
        return []
    heir = _heir(room, goes)
    left = RoomLeft(room_id=room.room_id, account_id=goes, by=by, owner_id=heir)
    # Nobody could ever come in again, or close it.
    return [left] if heir or room.closed else [left, RoomClosed(room_id=room.room_id, by=by)]


def _post(command: PostMessage, room: Room) -> Sequence[RoomEvent]:
    _member(room, command.author_id)
    _open_still(room)
    client_id = command.client_id
    return [
        RoomMessagePosted(
            room_id=room.room_id,
            message_id=command.message_id,
            author_id=command.author_id,
            text=text(command.text, "/text", longest=LONGEST_MESSAGE),
            client_id=None if client_id is None else foreign_id(client_id, "/client_id", longest=LONGEST_CLIENT_ID),
        )
    ]


def _close(command: CloseRoom, room: Room) -> Sequence[RoomEvent]:
    _owned(room, command.by)
    return [] if room.closed else [RoomClosed(room_id=room.room_id, by=command.by)]


def _heir(room: Room, goes: UUID) -> UUID | None:
    """Who owns the room when that member has gone."""
    if goes != room.owner_id:
        return room.owner_id
    left = _without(room, goes)
    return min(left, key=left.__getitem__, default=None)


def _without(room: Room, goes: UUID) -> Mapping[UUID, int]:
    return {member: since for member, since in room.members.items() if member != goes}


def _seen(room: Room, by: UUID) -> None:
    """A private room is not there for whoever is neither in it nor asked in."""
    if room.private and by not in room.members and by not in room.invited:
        raise DoesNotExist("there is no such room")


def _member(room: Room, by: UUID) -> None:
    _seen(room, by)
    if by not in room.members:
        raise NotRoomMember("join the room first")


def _owned(room: Room, by: UUID) -> None:
    _member(room, by)
    if by != room.owner_id:
        raise NotRoomOwner("the room is somebody else's")


def _open_still(room: Room) -> None:
    if room.closed:
        raise RoomNotOpen("the room is closed")


def _seat(room: Room, most: int) -> None:
    if room.seats_taken >= most:
        raise RoomFull(f"a room has at most {most} members and invitations")


def _opened(event: RoomOpened) -> Room:
    return Room(
        room_id=event.room_id,
        owner_id=event.owner_id,
        private=event.private,
        members={event.owner_id: 1},
        version=1,
    )


def _known(room: Room | None) -> Room:
    if room is None:
        raise DoesNotExist("there is no such room")
    return room


ROOMS: Final = Decider[RoomCommand, RoomEvent, Room | None](
    category="room", initial=None, decide=decide, evolve=evolve, allowances=allowances
)
