"""An order as its log tells it: what happened to it, and how it stood at any time. Always up to the last commit."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from api.dependencies import LogDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep
from api.queries.documents import PRIVATE, cached_response
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, page_answer, read_cursor
from api.queries.lists.page_reader import Pages
from api.rate_limits.policies import limited
from api.security import require
from domain.kernel.messages import Event, Recorded
from domain.orders import OrderEvent, OrderFact
from infra.errors import NotFound, Unavailable
from infra.eventsourcing.codec import UnknownEventType, dumps
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.read_cache import Document
from infra.postgres.statements import TIMESTAMPTZ, Statement
from infra.postgres.tables.log import events
from infra.schemas.forms import MOMENT, Moment
from projections.order_summary import ORDER_SUMMARY, OrderSummary

routes = router(tags=["orders"])

MANAGE: Final = "orders:manage"
CATEGORY: Final = "order"
PAGE: Final = 500
LONGEST: Final = 10_000
"""So many events are folded at most. An order has a dozen, unless its provider sends payment after payment."""
_NEVER: Final = 2**31 - 1

_of_order: Final = events.c.stream_id == sa.bindparam("order")
_page: Final = sa.select(events).where(_of_order, events.c.version > sa.bindparam("after")).order_by(events.c.version)
_limit: Final[Any] = sa.bindparam("limit")
_until: Final = sa.bindparam("until", type_=TIMESTAMPTZ)
_later: Final = sa.select(sa.func.min(events.c.version)).where(_of_order, events.c.recorded_at > _until)

_HISTORY: Final = Statement(_page.limit(_limit))
_PREFIX: Final = Statement(
    _page.where(
        events.c.category == CATEGORY,
        events.c.version <= sa.bindparam("last"),
        _until.is_(None) | (events.c.version < sa.func.coalesce(_later.scalar_subquery(), _NEVER)),
    ).limit(_limit)
)
_CUSTOMER: Final = Statement(
    sa.select(events.c.data["customer_id"].astext.label("customer_id")).where(
        _of_order, events.c.version == 1, events.c.category == CATEGORY
    )
)

AsOf = Annotated[str, StringConstraints(max_length=40, pattern=rf"^([1-9][0-9]{{0,8}}|{MOMENT})$")]
Reader = Annotated[Principal, Depends(require("orders:read"))]

_NO_DETAILS: Final = {*(each.name for each in fields(OrderFact)), "lines", "subtotal", "tax"}
DETAILS: Final[Mapping[type[Event], tuple[str, ...]]] = {
    kind: tuple(each.name for each in fields(kind) if each.repr and each.name not in _NO_DETAILS)
    for kind in get_args(OrderEvent)
}
"""What a history tells of each event: what it says itself, but for what the order shows, and what is personal."""

_MACHINES: Final = frozenset({"payment-provider", "clock"})


class Doer(BaseModel):
    """Who did it."""

    model_config = ConfigDict(title="Actor")

    kind: Literal["customer", "staff", "payment-provider", "clock", "unknown"]
    """What part they had. The clock cancels what is not paid in time."""
    account_id: UUID | None
    """Which account; told to staff, and to the account itself."""


class Happening(BaseModel):
    """Something that happened to an order."""

    model_config = ConfigDict(title="OrderHistoryEntry")

    version: int
    """Which event of the order it is: 1, 2, 3 …; what `as_of` takes."""
    type: str
    """What happened: `order.placed`, `order.paid` … More types may come."""
    at: AwareDatetime
    """When."""
    by: Doer
    """By whom."""
    details: dict[str, Any]
    """What the event itself says; its fields depend on the type, and more may come."""


class HistoryPage(PageParams):
    """Which part of the history; it begins with the placing."""


@routes.get("/v1/orders/{order_id}/history", response_model=Page[Happening])
@limited("read")
async def read_order_history(
    request: Request,
    order_id: UUID,
    reader: Reader,
    params: Annotated[HistoryPage, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """What happened to an order, when, and by whom. Another customer's order is not found."""
    list_id = cursors.list_id(log, "history", {"order_id": order_id})
    after = read_cursor(list_id, params.cursor, (int,))[0] if params.cursor else 0
    customer = await customer_of(pages, order_id)
    if not sees(reader, customer):
        raise NotFound
    rows = await pages.ask(*_HISTORY(order=order_id, after=after, limit=params.limit + 1))
    shown = rows[: params.limit]
    cursor = cursors.encode(list_id, [shown[-1]["version"]]) if len(rows) > params.limit else None
    return page_answer(request, [dumps(_happening(log, row, customer, reader)) for row in shown], cursor, PRIVATE)


def sees(reader: Principal, customer: UUID | None) -> bool:
    """Whether this is the order's customer, or staff."""
    return customer == reader.id or MANAGE in reader.scopes


async def order_as_of(
    pages: Pages, log: EventLog, order_id: UUID, as_of: str, reader: Principal, if_none_match: bytes | None
) -> RawResponse:
    """The order's document as it was at a version or a time, folded by the read model's own rules.

    Raises NotFound where there was no such order or version then.
    """
    version, until = _moment(as_of)
    order = await folded(pages, log, order_id, version or _NEVER, until)
    if order is None or (version is not None and order.version != version) or not sees(reader, order.customer_id):
        raise NotFound
    document = Document(0, order.version, ORDER_SUMMARY.document(order))
    return cached_response(document, PRIVATE).to(if_none_match)


def _moment(as_of: str) -> tuple[int | None, datetime | None]:
    if as_of.isdigit():
        return int(as_of), None
    try:
        return None, _TIME.validate_python(as_of)
    except ValidationError:
        finding = {"pointer": "/query/as_of", "code": "datetime-parsing", "detail": "There is no such time."}
        raise Problem("invalid", errors=[finding]) from None


_TIME: Final = TypeAdapter[datetime](Moment)


async def folded(pages: Pages, log: EventLog, order_id: UUID, last: int, until: datetime | None) -> OrderSummary | None:
    """The order after its events up to a version, and before the first that came after ``until``.

    A prefix in either case: where a clock was set back, a later event may bear an earlier time.
    """
    order: OrderSummary | None = None
    seen = 0
    while seen < min(last, LONGEST):
        rows = await pages.ask(*_PREFIX(order=order_id, after=seen, last=last, until=until, limit=PAGE))
        for row in rows:
            order = ORDER_SUMMARY.project(order, _read(log, row))
        seen += len(rows)
        if len(rows) < PAGE:
            return order
    if seen >= LONGEST:
        raise Unavailable("the order has too many events")
    return order


def _read(log: EventLog, row: asyncpg.Record) -> Recorded:
    try:
        return log.recorded(row)
    except UnknownEventType as error:
        raise Unavailable("only a newer release knows what happened to the order") from error


async def customer_of(pages: Pages, order_id: UUID) -> UUID:
    rows = await pages.ask(*_CUSTOMER(order=order_id))
    if not rows:
        raise NotFound
    return UUID(rows[0]["customer_id"])


def _happening(log: EventLog, row: asyncpg.Record, customer: UUID, reader: Principal) -> dict[str, Any]:
    return {
        "version": row["version"],
        "type": row["type"],
        "at": row["recorded_at"],
        "by": _doer(orjson.loads(row["metadata"]).get("actor"), customer, reader),
        "details": _details(log, row),
    }


def _details(log: EventLog, row: asyncpg.Record) -> dict[str, Any]:
    """What may be told of the event. Of one that only a newer release knows, that one tells more."""
    try:
        event = log.recorded(row).data
    except UnknownEventType:
        return {}
    return {name: getattr(event, name) for name in DETAILS[type(event)]}


def _doer(actor: str | None, customer: UUID, reader: Principal) -> dict[str, Any]:
    """An actor that is no account is the payment provider or the clock; an account that is not the customer, staff."""
    if actor is None or actor in _MACHINES:
        return {"kind": actor or "unknown", "account_id": None}
    told = actor == str(reader.id) or MANAGE in reader.scopes
    kind = "customer" if actor == str(customer) else "staff"
    return {"kind": kind, "account_id": actor if told else None}
