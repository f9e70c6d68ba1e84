"""Reading what was said in a room: page by page, and one message by its place."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import JSON, RawResponse
from api.queries.dependencies import PagesDep, RoomsDep
from api.queries.documents import PRIVATE, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer
from api.queries.lists.query import Condition, Query, Sort
from api.queries.room_access import IS_MEMBER, MAY_READ, find_room
from api.rate_limits.policies import limited
from api.security import require
from domain.kernel.messages import Recorded
from domain.rooms import RoomMessagePosted
from infra.errors import NotFound, Unavailable
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.event_log import EventLog
from infra.postgres.statements import Statement, inline
from infra.postgres.tables.log import events

routes = router(tags=["rooms"])

MESSAGES: Final = "room_message"
MOST_SEQ: Final = 2**31 - 1
ORDERS: Final = {
    newest: Sort(column="seq", type=sa.Integer(), read=int, write=str, descending=newest) for newest in (True, False)
}

_ONE: Final = Statement(
    sa.select(events).where(
        events.c.stream_id == sa.bindparam("room"),
        events.c.version == sa.bindparam("seq"),
        events.c.type == inline("room.message_posted"),
        MAY_READ,
    )
)
_OF_ROOM: Final = Condition(sa.column("room_id", sa.Uuid) == sa.bindparam("room"))
_AFTER: Final = Condition(sa.column("seq", sa.Integer) > sa.bindparam("after"))

Reader = Annotated[Principal, Depends(require("rooms:read"))]
Seq = Annotated[int, Field(ge=1, le=MOST_SEQ)]


class MessageDocument(BaseModel):
    """Something that was said."""

    model_config = ConfigDict(title="RoomMessage")

    seq: int
    """Its place in the room: each event there has one, without holes, and messages are among them."""
    id: UUID
    """The message's id."""
    client_id: str | None
    """What the client that sent it calls it."""
    author: UUID = Field(alias="from")
    """The account that said it; the room's members tell its name."""
    text: str
    """What was said."""
    at: AwareDatetime
    """When."""


class MessageFilters(PageParams):
    """Which messages, and the first of them first or the last."""

    sort: Literal["newest", "oldest"] = "newest"
    """Which come first."""
    after: Annotated[int, Field(ge=0, le=MOST_SEQ)] | None = None
    """Only those with a greater `seq`."""


@routes.get("/v1/rooms/{room_id}/messages", response_model=Page[MessageDocument])
@limited("read")
async def list_room_messages(
    request: Request,
    context: Context,
    room_id: UUID,
    reader: Reader,
    filters: Annotated[MessageFilters, QueryParams()],
    rooms: RoomsDep,
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """What was said, page by page. Of a private room it is told to members alone: who is sent out reads nothing more.

    A room that was opened within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    room = await find_room(rooms, pages, room_id, context, reader, within=True)
    conditions = {"room": room_id, "sort": filters.sort, "after": filters.after}
    query = Query(
        projection=MESSAGES,
        sort=ORDERS[filters.sort == "newest"],
        list_id=cursors.list_id(log, MESSAGES, conditions),
    )
    query.within(_OF_ROOM, room=room_id)
    query.within(_AFTER, after=filters.after)
    query.within(IS_MEMBER, reader=None if room.owner is None else reader.id, room=room_id)
    continue_after(query, filters.cursor)
    items, cursor = await pages.fetch(query, filters.limit, needs_of(context), context.wait)
    return page_answer(request, [_shown(item) for item in items], cursor, PRIVATE)


@routes.get("/v1/rooms/{room_id}/messages/{seq}", response_model=MessageDocument)
@limited("read")
async def read_room_message(
    context: Context, room_id: UUID, seq: Seq, reader: Reader, rooms: RoomsDep, pages: PagesDep, log: LogDep
) -> RawResponse:
    """One message by its place in the room, as soon as it is stored.

    A room that was opened within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    room = await find_room(rooms, pages, room_id, context, reader, within=True)
    rows = await pages.ask(*_ONE(room=room_id, seq=seq, private=room.owner is not None, reader=reader.id))
    if not rows:
        raise NotFound
    event = _recorded(log, rows[0])
    return RawResponse(200, [JSON, PRIVATE], as_json(told_of(event)))


def told_of(event: Recorded) -> dict[str, Any]:
    """The message of an event, as it is told."""
    said = event.data
    if not isinstance(said, RoomMessagePosted):
        raise TypeError(f"{event.type} is no message")
    return _told(said.message_id, said.client_id, said.author_id, said.text, event.recorded_at, event.version)


def as_json(told: Mapping[str, Any]) -> bytes:
    """What is told, with times as everywhere."""
    return orjson.dumps(told, option=orjson.OPT_UTC_Z)


def _recorded(log: EventLog, row: asyncpg.Record) -> Recorded:
    try:
        return log.recorded(row)
    except UnknownEventType as error:
        raise Unavailable("only a newer release knows what was said") from error


def _shown(document: bytes) -> bytes:
    """The row of a read model, as it is told."""
    row = orjson.loads(document)
    fields = ("message_id", "client_id", "author_id", "text", "posted_at", "version")
    return as_json(_told(*[row[name] for name in fields]))


def _told(message_id: Any, client_id: str | None, author_id: Any, text: str, at: Any, seq: int) -> dict[str, Any]:
    return {"seq": seq, "id": message_id, "client_id": client_id, "from": author_id, "text": text, "at": at}
