"""Rooms: opening and closing them, coming and going, and what is said in them."""

from typing import Annotated, Final
from uuid import UUID

import orjson
from fastapi import Depends
from pydantic import ConfigDict, Field

from api.commands.authority import acting
from api.commands.dispatcher import CommandDispatcher, OwnKey
from api.dependencies import SettingsDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Name, ReceiptDocument
from api.security import require
from api.uuid7 import new_id
from domain.kernel.unit_of_work import UnitOfWork, Workflow
from domain.rooms import (
    LONGEST_CLIENT_ID,
    LONGEST_MESSAGE,
    LONGEST_TOPIC,
    ROOMS,
    CloseRoom,
    InviteToRoom,
    JoinRoom,
    LeaveRoom,
    OpenRoom,
    PostMessage,
)
from domain.workflows.invitation import invite
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.schemas.forms import Id
from infra.schemas.text import trimmed

routes = router(tags=["rooms"])

WRITE: Final = "rooms:write"

Writer = Annotated[Principal, Depends(require(WRITE))]
Sender = Annotated[CommandDispatcher, Depends(acting(WRITE))]
Topic = Annotated[str, trimmed(LONGEST_TOPIC)]
ClientId = Annotated[str, Field(min_length=1, max_length=LONGEST_CLIENT_ID)]


class RoomBody(Body):
    """A room to be opened."""

    name: Name
    """What it is called, 1 to 100 characters."""
    topic: Topic | None = None
    """What is spoken of, at most 300 characters."""
    private: bool = False
    """Whether it is shown to nobody but its members and those who are asked in."""


class MemberBody(Body):
    """Who is asked in. Without this, who asks joins the room."""

    account_id: Id | None = None
    """The account that may join from now on; only the room's owner can ask somebody in."""


class MessageBody(Body):
    """What is said."""

    text: Annotated[str, Field(min_length=1, max_length=LONGEST_MESSAGE)]
    """1 to 4,000 characters."""
    client_id: ClientId | None = None
    """What the client calls this message: sent again by the same account to the same room, however and wherever, within
    a day, it is one message. It takes the place of an `Idempotency-Key`: send one of the two."""


class MessageReceipt(ReceiptDocument):
    """The receipt of a message, whose `version` is its `seq`."""

    model_config = ConfigDict(title="MessageReceipt")

    room_id: UUID
    """The room it was said in."""


@routes.post("/v1/rooms", status_code=201)
@limited("write")
@refuses("too-many-rooms", "invalid-value")
async def open_room(body: RoomBody, commands: Sender, me: Writer) -> Receipt:
    """Open a room, of which one is the owner and the first member."""
    room_id = new_id()
    command = OpenRoom(room_id=room_id, owner_id=me.id, name=body.name, topic=body.topic, private=body.private)

    def decide(work: UnitOfWork) -> None:
        work.execute(ROOMS, room_id, command)

    return await commands.run([(ROOMS, room_id)], decide, new=1, location=_location)


@routes.delete("/v1/rooms/{room_id}")
@limited("write")
@refuses("not-room-member", "not-room-owner")
async def close_room(room_id: UUID, commands: Sender, me: Writer) -> Receipt:
    """Close one's room for good: its members can read what was said there, and nothing is added."""
    return await commands.handle((ROOMS, room_id), CloseRoom(by=me.id))


@routes.post("/v1/rooms/{room_id}/members")
@limited("write")
@refuses(
    "not-room-member",
    "not-room-owner",
    "room-not-open",
    "room-full",
    "too-many-rooms",
    "too-many-invitations",
    "unknown-account",
)
async def add_room_member(
    room_id: UUID, commands: Sender, me: Writer, settings: SettingsDep, body: MemberBody | None = None
) -> Receipt:
    """Join a public room, or one that has asked; or ask somebody into one's own, who may join from then on."""
    guest, most = body.account_id if body else None, settings.room_members_most
    if guest is None:
        return await commands.handle((ROOMS, room_id), JoinRoom(account_id=me.id, most=most))
    return await commands.run(*invite(room_id, InviteToRoom(account_id=guest, by=me.id, most=most)))


@routes.delete("/v1/rooms/{room_id}/members/{account_id}")
@limited("write")
@refuses("not-room-member", "not-room-owner")
async def remove_room_member(room_id: UUID, account_id: UUID, commands: Sender, me: Writer) -> Receipt:
    """Leave a room or decline its invitation; or send somebody out of one's own, or withdraw what was asked.

    When its owner leaves, the room is that of the member who has been there longest; when nobody is left, it is closed.
    """
    return await commands.handle((ROOMS, room_id), LeaveRoom(account_id=account_id, by=me.id))


@routes.post("/v1/rooms/{room_id}/messages", status_code=201, response_model=MessageReceipt)
@limited("write")
@refuses("not-room-member", "room-not-open", "invalid-value")
async def post_message(room_id: UUID, body: MessageBody, commands: Sender, me: Writer) -> Receipt:
    """Say something in a room that one is in. It is in the room's history once it is answered."""
    if body.client_id is not None:
        commands = commands.under(message_key(room_id, me.id, body.client_id, body.text))
    message = posting(room_id, me.id, body.text, body.client_id)
    return await commands.run(*message, location=_message_location)


def posting(room_id: UUID, author_id: UUID, text: str, client_id: str | None) -> Workflow:
    """Says it in the room, by whichever door it came. The receipt is the message's, whose version is its place."""
    command = PostMessage(message_id=new_id(), author_id=author_id, text=text, client_id=client_id)

    def decide(work: UnitOfWork) -> None:
        work.execute(ROOMS, room_id, command)
        work.answer = {"id": str(command.message_id), "room_id": str(room_id)}

    return [(ROOMS, room_id)], decide


def message_key(room_id: UUID, author_id: UUID, client_id: str, text: str) -> OwnKey:
    """The idempotency key of what its client calls so: the same by every door, and no other request's."""
    told = orjson.dumps([str(room_id), client_id, text])
    return OwnKey(principal=f"{author_id}/rooms", key=f"{room_id}:{client_id}", told=told)


def _location(outcome: CommandOutcome) -> str:
    return f"/v1/rooms/{outcome.id}"


def _message_location(outcome: CommandOutcome) -> str:
    return f"/v1/rooms/{outcome.id}/messages/{outcome.version}"
