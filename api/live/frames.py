"""The frames of a socket in a room: those that a client may send, and what the room's events become."""

from typing import Annotated, Final, Literal, TypeAlias, TypeVar, assert_never

from pydantic import Field, TypeAdapter, ValidationError

from api.http.connection.socket_protocol import frame_bytes
from api.live.told_frames import ClosedFrame, InvitedFrame, JoinedFrame, LeftFrame, UninvitedFrame, told
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


def frame_of(event: FollowedEvent) -> str:
    """The frame of an event, the same for all who hear it. Each event of a room has one, so that places have no holes.

    Raises what decoding the event raises.
    """
    return framed(event.recorded())


def bytes_of(event: FollowedEvent) -> bytes | None:
    """The same as it goes over the line; None where that is not all that follows: somebody left, or it has no frame."""
    try:
        if isinstance(event.recorded().data, RoomLeft):
            return None
        return frame_bytes(event.once(frame_of))
    except Exception:
        # It is asked for while an event is offered to many: raised there, it would be the end of what they follow. Each
        # comes to it again in a task of its own.
        return None


def framed(event: Recorded) -> str:
    """The frame of a room's event. All of them have a place and a time. Who opens a room is the first to join it."""
    said, seq, at = event.data, event.version, event.recorded_at
    if not isinstance(said, RoomEvent):
        raise TypeError(f"{event.type} is no event of rooms")
    match said:
        case RoomOpened(owner_id=member) | RoomJoined(account_id=member):
            return told(JoinedFrame(account_id=member, seq=seq, at=at))
        case RoomLeft(account_id=member, by=by):
            return told(LeftFrame(account_id=member, by=by, seq=seq, at=at))
        case RoomInvited(account_id=guest, by=by):
            return told(InvitedFrame(account_id=guest, by=by, seq=seq, at=at))
        case RoomInvitationWithdrawn(account_id=guest, by=by):
            return told(UninvitedFrame(account_id=guest, by=by, seq=seq, at=at))
        case RoomClosed(by=by):
            return told(ClosedFrame(by=by, seq=seq, at=at))
        case RoomMessagePosted():
            return as_json({"type": "message", **told_of(event)}).decode()
        case _:
            assert_never(said)
