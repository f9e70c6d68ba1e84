"""The read model of what was said in rooms: a row for each message, which never changes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.rooms import RoomMessagePosted
from infra.eventsourcing.projections.fold_table import AT, Begins, Folds, Its
from infra.eventsourcing.projections.projection import ByEvent, Column, Projection


@dataclass(frozen=True, kw_only=True)
class RoomMessage:
    """A message; its ``version`` is its place in the room."""

    room_id: UUID
    message_id: UUID
    client_id: str | None
    author_id: UUID
    text: str = field(repr=False)
    posted_at: datetime
    version: int


FOLDS: Final = Folds(
    RoomMessage,
    {
        RoomMessagePosted: Begins(
            room_id=Its("room_id"),
            message_id=Its("message_id"),
            client_id=Its("client_id"),
            author_id=Its("author_id"),
            text=Its("text"),
            posted_at=AT,
        ),
    },
)

ROOM_MESSAGE: Final = Projection[RoomMessage](
    name="room_message",
    version=1,
    row=RoomMessage,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=ByEvent(),
    project=FOLDS,
    columns=(
        Column("room_id", "uuid", lambda message: message.room_id),
        Column("seq", "integer", lambda message: message.version),
    ),
    indexes=("(room_id, seq, key)",),
)
