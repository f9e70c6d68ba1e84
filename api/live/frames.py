"""The frames of a socket in a room: those that a client may send, and those that the room's events become."""

from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, assert_never

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from api.queries.room_messages import MOST_SEQ, as_json, told_of
from api.schemas import Body
from domain.kernel.messages import Recorded
from domain.rooms import (
    LONGEST_CLIENT_ID,
    LONGEST_MESSAGE,
    RoomClosed,
    RoomEvent,
    RoomInvitationWithdrawn,
    RoomInvited,
    RoomJoined,
    RoomLeft,
    RoomMessagePosted,
    RoomOpened,
)
from infra.eventsourcing.subscriptions import FollowedEvent
from infra.schemas.strict_json import MalformedJson, check_json

T = TypeVar("T")


class AuthFrame(Body):
    """The first frame. ``after`` is the last place that the client has seen; without it, it hears what is new."""

    type: Literal["auth"]
    token: str = Field(repr=False)
    after: Annotated[int, Field(ge=0, le=MOST_SEQ)] | None = None


class MessageFrame(Body):
    """Something to be said. Sent again under its ``client_id`` it is one message."""

    type: Literal["message"]
    client_id: Annotated[str, Field(min_length=1, max_length=LONGEST_CLIENT_ID)]
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_MESSAGE)] = Field(repr=False)


class PingFrame(Body):
    """Whether somebody is there."""

    type: Literal["ping"]


Spoken: TypeAlias = MessageFrame | PingFrame
FIRST: Final[TypeAdapter[AuthFrame]] = TypeAdapter(AuthFrame)
SPOKEN: Final[TypeAdapter[Spoken]] = TypeAdapter(Annotated[Spoken, Field(discriminator="type")])


class FalseFrame(Exception):
    """It is no frame that a client may send. ``code`` says of which kind the fault is, and repeats nothing of it."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read(text: str | None, kind: TypeAdapter[T]) -> T:
    """The frame of that kind. Raises :class:`FalseFrame`; None is one that is not text."""
    try:
        said = (text or "").encode()
        check_json(said)
        return kind.validate_json(said)
    except (MalformedJson, UnicodeEncodeError):
        raise FalseFrame("malformed-json") from None
    except ValidationError:
        raise FalseFrame("invalid") from None


def told(type_: str, **fields: Any) -> str:
    """A frame of our own."""
    return orjson.dumps({"type": type_, **fields}).decode()


def frame_of(event: FollowedEvent) -> str:
    """The frame of an event, the same for all who hear it. Each event of a room has one, so that places have no holes.

    Raises what decoding the event raises.
    """
    return as_json(_told(event.recorded())).decode()


def _told(event: Recorded) -> dict[str, Any]:
    """All of its events have a place and a time. Who opens a room is the first to join it."""
    said, told = event.data, {"seq": event.version, "at": event.recorded_at}
    if not isinstance(said, RoomEvent):
        raise TypeError(f"{event.type} is no event of rooms")
    match said:
        case RoomOpened(owner_id=member) | RoomJoined(account_id=member):
            return {"type": "joined", "account_id": member, **told}
        case RoomLeft(account_id=member, by=by):
            return {"type": "left", "account_id": member, "by": by, **told}
        case RoomInvited(account_id=guest, by=by):
            return {"type": "invited", "account_id": guest, "by": by, **told}
        case RoomInvitationWithdrawn(account_id=guest, by=by):
            return {"type": "uninvited", "account_id": guest, "by": by, **told}
        case RoomClosed(by=by):
            return {"type": "closed", "by": by, **told}
        case RoomMessagePosted():
            return {"type": "message", **told_of(event)}
        case _:
            assert_never(said)
