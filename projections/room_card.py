"""The read model of one room: what it is about, whose it is, and whether anything is still said there."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.rooms import (
    RoomClosed,
    RoomInvitationWithdrawn,
    RoomInvited,
    RoomJoined,
    RoomLeft,
    RoomMessagePosted,
    RoomOpened,
)
from infra.eventsourcing.projections.fold_table import AT, Begins, Folds, Is, Its, Sets
from infra.eventsourcing.projections.projection import ByStream, Column, Projection


class RoomStatus(StrEnum):
    """Whether anything is still said there."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True)
class RoomCard:
    """The room document."""

    id: UUID
    """The room's id."""
    name: str
    """What it is called."""
    topic: str | None
    """What is spoken of."""
    private: bool
    """Whether it is shown to nobody but its members and those who are asked in."""
    owner_id: UUID | None
    """The account that asks others in, sends them out and closes it; null when everybody has left."""
    status: RoomStatus
    """Whether anything is still said there."""
    opened_at: datetime
    """When it was opened."""
    last_message_at: datetime | None
    """When somebody last said something."""
    closed_at: datetime | None
    """When it was closed."""
    version: int
    """How many events it has: the `seq` of the last one, and in quotes what `If-Match` takes."""


FOLDS: Final = Folds(
    RoomCard,
    {
        RoomOpened: Begins(
            id=Its("room_id"),
            name=Its("name"),
            topic=Its("topic"),
            private=Its("private"),
            owner_id=Its("owner_id"),
            status=Is(RoomStatus.OPEN),
            opened_at=AT,
        ),
        RoomInvited: Sets(),
        RoomInvitationWithdrawn: Sets(),
        RoomJoined: Sets(),
        RoomLeft: Sets(owner_id=Its("owner_id")),
        RoomMessagePosted: Sets(last_message_at=AT),
        RoomClosed: Sets(status=Is(RoomStatus.CLOSED), closed_at=AT),
    },
)

ROOM_CARD: Final = Projection[RoomCard](
    name="room_card",
    version=1,
    row=RoomCard,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=ByStream(),
    project=FOLDS,
    read_back=True,
    columns=(
        Column("private", "boolean", lambda room: room.private),
        Column("opened_at", "timestamptz", lambda room: room.opened_at),
    ),
    indexes=("(opened_at DESC, key DESC)",),
)
