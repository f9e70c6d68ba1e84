"""Who belongs to a room, as the append keeps it: a share of the rooms that an account may be in, or be asked into.

The row is written in the commit of the event that says so. So it is also what reads of a private room go by: whoever
was sent out reads nothing from that moment on, however far the read models have come.
"""

from collections.abc import Sequence
from typing import Final, assert_never
from uuid import UUID

from domain.kernel.decider import Allowance
from domain.rooms.messages import (
    RoomClosed,
    RoomEvent,
    RoomInvitationWithdrawn,
    RoomInvited,
    RoomJoined,
    RoomLeft,
    RoomMessagePosted,
    RoomOpened,
    TooManyInvitations,
    TooManyRooms,
)

MEMBERSHIP: Final = "room_membership"
INVITATION: Final = "room_invitation"


def allowances(event: RoomEvent) -> Sequence[Allowance]:
    """A member counts until it leaves, also in a closed room, which it still reads."""
    match event:
        case RoomOpened(owner_id=member):
            return (_share(MEMBERSHIP, member),)
        case RoomInvited(account_id=guest):
            return (_share(INVITATION, guest),)
        case RoomJoined(account_id=member):
            return (_share(MEMBERSHIP, member), _share(INVITATION, member, released=True))
        case RoomLeft(account_id=member):
            return (_share(MEMBERSHIP, member, released=True),)
        case RoomInvitationWithdrawn(account_id=guest):
            return (_share(INVITATION, guest, released=True),)
        case RoomMessagePosted() | RoomClosed():
            return ()
        case _:
            assert_never(event)


def _share(scope: str, account_id: UUID, *, released: bool = False) -> Allowance:
    too_many = TooManyRooms if scope == MEMBERSHIP else TooManyInvitations
    return Allowance(scope=scope, owner=account_id, released=released, too_many=too_many, too_much=too_many)
