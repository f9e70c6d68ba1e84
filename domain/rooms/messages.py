"""Commands, events and refusals of rooms."""

from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from domain.kernel.messages import Command, Event
from domain.kernel.refusals import Refusal


class NotRoomMember(Refusal):
    """Only a member speaks in a room, and only members know who is asked in."""

    code = "not-room-member"


class NotRoomOwner(Refusal):
    """Only the owner of a room asks others in, sends them out, and closes it."""

    code = "not-room-owner"


class RoomNotOpen(Refusal):
    """The room is closed: what was said there can be read, and nothing is added."""

    code = "room-not-open"


class RoomFull(Refusal):
    """The room has as many members and invitations as it may have."""

    code = "room-full"


class TooManyRooms(Refusal):
    """The account is in as many rooms as it may be in."""

    code = "too-many-rooms"


class TooManyInvitations(Refusal):
    """The account has as many invitations as it may have."""

    code = "too-many-invitations"


@dataclass(frozen=True, kw_only=True)
class OpenRoom(Command):
    """Open a room; its owner is its first member. A private one is shown to nobody who is not asked in."""

    room_id: UUID
    owner_id: UUID
    name: str
    topic: str | None = None
    private: bool = False


@dataclass(frozen=True, kw_only=True)
class InviteToRoom(Command):
    """Ask somebody in. ``most`` are the seats of a room: its members and its invitations."""

    account_id: UUID
    by: UUID
    most: int


@dataclass(frozen=True, kw_only=True)
class JoinRoom(Command):
    """Become a member: of a public room, or of one that has asked."""

    account_id: UUID
    most: int


@dataclass(frozen=True, kw_only=True)
class LeaveRoom(Command):
    """Be a member no more, or asked in no more. ``by`` is the account itself, or the room's owner who sends it out."""

    account_id: UUID
    by: UUID


@dataclass(frozen=True, kw_only=True)
class PostMessage(Command):
    """Say something. ``client_id`` is what the client calls the message."""

    message_id: UUID
    author_id: UUID
    text: str = field(repr=False)
    client_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class CloseRoom(Command):
    """Let nothing more be said in the room."""

    by: UUID


@dataclass(frozen=True, kw_only=True)
class RoomOpened(Event):
    """There is a room, and its owner is in it."""

    room_id: UUID
    owner_id: UUID
    name: str
    topic: str | None
    private: bool


@dataclass(frozen=True, kw_only=True)
class RoomInvited(Event):
    """The account may join."""

    room_id: UUID
    account_id: UUID
    by: UUID


@dataclass(frozen=True, kw_only=True)
class RoomInvitationWithdrawn(Event):
    """The account is asked in no more: ``by`` the owner, or by itself, who does not want to."""

    room_id: UUID
    account_id: UUID
    by: UUID


@dataclass(frozen=True, kw_only=True)
class RoomJoined(Event):
    """The account is a member."""

    room_id: UUID
    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class RoomLeft(Event):
    """The account is a member no more, ``by`` its own will or the owner's.

    ``owner_id`` owns the room from here on; None: nobody is left.
    """

    room_id: UUID
    account_id: UUID
    by: UUID
    owner_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class RoomMessagePosted(Event):
    """Somebody said something. Of who it was no more is kept than the account's id."""

    room_id: UUID
    message_id: UUID
    author_id: UUID
    text: str = field(repr=False)
    client_id: str | None


@dataclass(frozen=True, kw_only=True)
class RoomClosed(Event):
    """Nothing more is said here: ``by`` the owner's will, or because the last member went."""

    room_id: UUID
    by: UUID


RoomCommand: TypeAlias = OpenRoom | InviteToRoom | JoinRoom | LeaveRoom | PostMessage | CloseRoom
RoomEvent: TypeAlias = (
    RoomOpened | RoomInvited | RoomInvitationWithdrawn | RoomJoined | RoomLeft | RoomMessagePosted | RoomClosed
)
