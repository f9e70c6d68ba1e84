"""The read model of a room's members: a row for each who is in it or asked in. Whoever leaves has none."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.kernel.messages import Recorded
from domain.rooms import RoomInvitationWithdrawn, RoomInvited, RoomJoined, RoomLeft, RoomOpened
from infra.eventsourcing.projections.fold_table import AT, Begins, Ends, Folds, Is, Its
from infra.eventsourcing.projections.projection import Column, Projection


class Standing(StrEnum):
    """What somebody is to a room."""

    MEMBER = "member"
    INVITED = "invited"


@dataclass(frozen=True, kw_only=True)
class RoomMember:
    """Somebody and a room."""

    room_id: UUID
    account_id: UUID
    standing: Standing
    since: datetime
    version: int


FOLDS: Final = Folds(
    RoomMember,
    {
        RoomOpened: Begins(room_id=Its("room_id"), account_id=Its("owner_id"), standing=Is(Standing.MEMBER), since=AT),
        RoomInvited: Begins(
            room_id=Its("room_id"), account_id=Its("account_id"), standing=Is(Standing.INVITED), since=AT
        ),
        RoomJoined: Begins(
            room_id=Its("room_id"), account_id=Its("account_id"), standing=Is(Standing.MEMBER), since=AT
        ),
        RoomInvitationWithdrawn: Ends(),
        RoomLeft: Ends(),
    },
)


def member_of(event: Recorded) -> str:
    """The key: the room, and who is in it."""
    said = event.data
    account_id = said.owner_id if isinstance(said, RoomOpened) else getattr(said, "account_id", None)
    return f"{event.stream_id}.{account_id}"


ROOM_MEMBER: Final = Projection[RoomMember](
    name="room_member",
    version=1,
    row=RoomMember,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=member_of,
    project=FOLDS,
    columns=(
        Column("room_id", "uuid", lambda member: member.room_id),
        Column("account_id", "uuid", lambda member: member.account_id),
        Column("standing", "text", lambda member: member.standing.value),
        Column("since", "timestamptz", lambda member: member.since),
        Column("seq", "integer", lambda member: member.version),
    ),
    indexes=("(room_id, seq, key)",),
)
