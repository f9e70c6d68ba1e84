"""The frames that a client in a room is told. Each has a ``type``; of those that are events ``seq`` is the place."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from api.queries.room_messages import as_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """What every event of a room tells, whatever it is."""

    seq: int
    """Its place in the room."""
    at: datetime
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WelcomeFrame:
    """Who asked is let in."""

    type: Literal["welcome"] = "welcome"
    room: UUID
    """The room."""
    seq: int
    """The room's last place at this moment."""
    members: list[UUID]
    """The accounts that are in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedFrame(Happened):
    """Somebody came in; whoever opened the room is the first."""

    type: Literal["joined"] = "joined"
    account_id: UUID
    """Who."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftFrame(Happened):
    """Somebody went, or was sent out."""

    type: Literal["left"] = "left"
    account_id: UUID
    """Who."""
    by: UUID
    """Who wanted it: the same account, or the room's owner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InvitedFrame(Happened):
    """Somebody was asked in."""

    type: Literal["invited"] = "invited"
    account_id: UUID
    """Who."""
    by: UUID
    """Who asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UninvitedFrame(Happened):
    """Somebody is asked in no more."""

    type: Literal["uninvited"] = "uninvited"
    account_id: UUID
    """Who."""
    by: UUID
    """Who wanted it: the same account, or the room's owner."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedFrame(Happened):
    """Nothing more is said in the room."""

    type: Literal["closed"] = "closed"
    by: UUID
    """Who closed it, or was the last to leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AckFrame:
    """What the client said is stored."""

    type: Literal["ack"] = "ack"
    client_id: str
    """What the client calls it."""
    seq: int
    """Its place in the room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorFrame:
    """What the client sent came to nothing; where the socket ends, this says why."""

    type: Literal["error"] = "error"
    code: str
    """A problem code."""
    client_id: str | None = None
    """Which message was not stored; left out where it is not about one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PongFrame:
    """The answer to a ping."""

    type: Literal["pong"] = "pong"


Told: TypeAlias = (
    WelcomeFrame
    | JoinedFrame
    | LeftFrame
    | InvitedFrame
    | UninvitedFrame
    | ClosedFrame
    | AckFrame
    | ErrorFrame
    | PongFrame
)
"""All but a message, which is told as a list of messages tells it."""


def told(frame: Told) -> str:
    """The frame as it is sent: what there is none of is left out."""
    return as_json({name: value for name, value in asdict(frame).items() if value is not None}).decode()
