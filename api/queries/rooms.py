"""Reading rooms: those that are shown to who asks, each by itself, and who is in it."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, BaseModel, ConfigDict

from api.dependencies import Context, LogDep, PresenceDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep, RoomsDep
from api.queries.documents import PRIVATE, if_none_match, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer, read_cursor
from api.queries.lists.query import Condition, Query, Sort
from api.queries.read_models import ACCOUNTS, ROOMS
from api.queries.room_access import IS_SHOWN, MAY_READ, find_room, rooms_of
from api.rate_limits.policies import limited
from api.security import require
from domain.rooms import INVITATION, MEMBERSHIP
from infra.eventsourcing.projections.table_name import table_name
from infra.postgres.statements import TIMESTAMPTZ, Statement, any_of
from projections.room_card import RoomCard

routes = router(tags=["rooms"])

MEMBERS: Final = "room_member"
NEWEST: Final = Sort(
    column="opened_at", type=TIMESTAMPTZ, read=datetime.fromisoformat, write=datetime.isoformat, descending=True
)
SCOPES: Final[Mapping[str, str]] = {"member": MEMBERSHIP, "invited": INVITATION}

_ARE_MINE: Final = Condition(any_of(sa.column("key", sa.Text), "mine"))

Reader = Annotated[Principal, Depends(require("rooms:read"))]


class RoomFilters(PageParams):
    """Which rooms; the newest come first."""

    mine: Literal["member", "invited"] | None = None
    """Only those that one is in, or is asked into."""


class MemberDocument(BaseModel):
    """Somebody in a room, or asked in."""

    model_config = ConfigDict(title="RoomMember")

    account_id: UUID
    """Which account."""
    name: str | None
    """How its owner wants to be called; null where the account was erased."""
    standing: Literal["owner", "member", "invited"]
    """What it is to the room."""
    since: AwareDatetime
    """Since when it is in it, or asked in."""
    online: bool | None
    """Whether it listens at this moment; null while nobody can tell."""


class MemberPage(PageParams):
    """Which part of the members; those who came first come first."""


@routes.get("/v1/rooms", response_model=Page[RoomCard])
@limited("read")
async def list_rooms(
    request: Request,
    context: Context,
    reader: Reader,
    filters: Annotated[RoomFilters, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """Public rooms and those that one is in or asked into, page by page."""
    needs = needs_of(context)
    conditions = {"reader": reader.id, "mine": filters.mine}
    query = Query(projection=ROOMS, sort=NEWEST, list_id=cursors.list_id(log, ROOMS, conditions))
    if filters.mine is not None:
        query.narrow(_ARE_MINE, mine=[str(room) for room in await rooms_of(pages, reader, SCOPES[filters.mine])])
    query.where(IS_SHOWN, reader=reader.id)
    continue_after(query, filters.cursor)
    page = await pages.fetch(query, filters.limit, needs, context.wait)
    return page_answer(request, *page, PRIVATE)


@routes.get("/v1/rooms/{room_id}", response_model=RoomCard)
@limited("read")
async def read_room(
    request: Request, context: Context, room_id: UUID, reader: Reader, rooms: RoomsDep, pages: PagesDep
) -> RawResponse:
    """One room. A private one is found by those who are in it or asked in, and by nobody else.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    found = await find_room(rooms, pages, room_id, context, reader, within=False)
    return found.to(if_none_match(request))


@routes.get("/v1/rooms/{room_id}/members", response_model=Page[MemberDocument])
@limited("read")
async def list_room_members(
    request: Request,
    context: Context,
    room_id: UUID,
    reader: Reader,
    params: Annotated[MemberPage, QueryParams()],
    rooms: RoomsDep,
    pages: PagesDep,
    log: LogDep,
    presence: PresenceDep,
) -> RawResponse:
    """Who is in the room, and who is asked in. Those of a private room are told to its members alone.

    A room that was opened within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    room = await find_room(rooms, pages, room_id, context, reader, within=True)
    list_id = cursors.list_id(log, MEMBERS, {"room": room_id})
    after, account_id = read_cursor(list_id, params.cursor, (int, str)) if params.cursor else (0, "")
    asked = {
        "room": room_id,
        "reader": reader.id,
        "private": room.owner is not None,
        "after": after,
        "after_key": account_id,
        "limit": params.limit + 1,
    }
    rows = await pages.over(
        (MEMBERS, ROOMS, ACCOUNTS),
        lambda served: _members(served[MEMBERS], served[ROOMS], served[ACCOUNTS])(**asked),
        needs=needs_of(context),
        wait=context.wait,
    )
    shown = rows[: params.limit]
    cursor = cursors.encode(list_id, [shown[-1]["seq"], shown[-1]["key"]]) if len(rows) > params.limit else None
    online = await presence.who_is_at(room_id)
    return page_answer(request, [_member(row, online) for row in shown], cursor, PRIVATE)


@lru_cache(maxsize=64)
def _members(members: int, rooms: int, accounts: int) -> Statement:
    """The members of a room in the order in which they came, from the very snapshot in which who asks is one."""
    member = sa.table(
        table_name(MEMBERS, members),
        *[sa.column(name, sa.Text) for name in ("key", "standing")],
        *[sa.column(name, sa.Uuid) for name in ("room_id", "account_id")],
        sa.column("since", TIMESTAMPTZ),
        sa.column("seq", sa.Integer),
    )
    room, account = (
        sa.table(table_name(name, generation), sa.column("key", sa.Text), sa.column("document", sa.JSON))
        for name, generation in ((ROOMS, rooms), (ACCOUNTS, accounts))
    )
    owner = room.c.document.op("->>", return_type=sa.Text)("owner_id")
    names = [account.c.document.op("->>", return_type=sa.Text)(name) for name in ("full_name", "username")]
    limit: Any = sa.bindparam("limit")
    return Statement(
        sa.select(
            member.c.account_id,
            sa.func.coalesce(*names).label("name"),
            sa.case((owner == sa.cast(member.c.account_id, sa.Text), "owner"), else_=member.c.standing).label(
                "standing"
            ),
            member.c.since,
            member.c.seq,
            member.c.key,
        )
        .select_from(
            member.outerjoin(room, room.c.key == sa.cast(member.c.room_id, sa.Text)).outerjoin(
                account, account.c.key == sa.cast(member.c.account_id, sa.Text)
            )
        )
        .where(
            member.c.room_id == sa.bindparam("room"),
            sa.tuple_(member.c.seq, member.c.key) > sa.tuple_(sa.bindparam("after"), sa.bindparam("after_key")),
            MAY_READ,
        )
        .order_by(member.c.seq, member.c.key)
        .limit(limit)
    )


def _member(row: asyncpg.Record, online: frozenset[UUID] | None) -> bytes:
    account_id = UUID(int=row["account_id"].int)
    told = {name: row[name] for name in ("name", "standing", "since")}
    told["online"] = None if online is None else account_id in online
    return orjson.dumps({"account_id": str(account_id), **told}, option=orjson.OPT_UTC_Z)
