"""Reading orders: customers their own, staff all of them."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from api.answers import Answer
from api.auth import require
from api.context import Principal
from api.deps import Context, opened
from api.endpoint import router
from api.errors import Problem
from api.queries import cursors
from api.queries.pages import Page, PageParams, Pages, Query, Sort, page_answer, page_of
from api.queries.presented import PRIVATE, if_none_match, needs_of
from api.queries.side import ORDERS, Orders
from domain.orders import OrderStatus
from infra.errors import NotFound
from infra.log import Log
from projections.order_summary import OrderSummary

routes = router(tags=["orders"])

MANAGE: Final = "orders:manage"
NEWEST: Final = Sort(column="placed_at", read=datetime.fromisoformat, write=datetime.isoformat, descending=True)

Reader = Annotated[Principal, Depends(require("orders:read"))]

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _only_rfc_3339(value: Any) -> Any:
    """pydantic also reads numbers as times; here they are none."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise PydanticCustomError("datetime_parsing", "not a time")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("datetime_parsing", "not a time") from None


Time = Annotated[AwareDatetime, BeforeValidator(_only_rfc_3339), AfterValidator(_in_utc)]


class OrderFilters(PageParams):
    """Which orders; the newest come first."""

    status: OrderStatus | None = None
    since: Time | None = Field(None, alias="from", description="placed at this time or later")
    until: Time | None = Field(None, alias="to", description="placed before this time")
    customer_id: UUID | None = Field(None, description="whose; only staff may ask for another's")


@routes.get("/v1/orders", response_model=Page[OrderSummary])
async def list_orders(
    request: Request,
    context: Context,
    reader: Reader,
    filters: Annotated[OrderFilters, QueryParams()],
    pages: Annotated[Pages, Depends(opened(Pages))],
    log: Annotated[Log, Depends(opened(Log))],
) -> Answer:
    """Orders, page by page: one's own, or for staff everybody's."""
    query = _query(log, filters, _customer(reader, filters.customer_id))
    rows = await pages.fetch(query, filters.limit, needs_of(context), context.wait)
    return page_answer(request, *page_of(query, rows, filters.limit), PRIVATE)


@routes.get("/v1/orders/{order_id}", response_model=OrderSummary)
async def read_order(
    request: Request,
    context: Context,
    order_id: UUID,
    reader: Reader,
    orders: Annotated[Orders, Depends(opened(Orders))],
) -> Answer:
    """One order. Another customer's is not found."""
    found = await orders.find(order_id, context)
    if found.owner != reader.id and MANAGE not in reader.scopes:
        raise NotFound
    return found.to(if_none_match(request))


def _customer(reader: Principal, wanted: UUID | None) -> UUID | None:
    """Whose orders are listed; None for everybody's."""
    if MANAGE in reader.scopes:
        return wanted
    if wanted not in (None, reader.id):
        raise Problem("insufficient-scope", "Only staff may list another customer's orders.")
    return reader.id


def _query(log: Log, filters: OrderFilters, customer: UUID | None) -> Query:
    conditions = {**filters.model_dump(exclude={"limit", "cursor"}), "customer_id": customer}
    query = Query(projection=ORDERS, sort=NEWEST, list_id=cursors.list_id(log, ORDERS, conditions))
    query.where("customer_id = {}", customer)
    query.where("status = {}", filters.status)
    query.where("placed_at >= {}", filters.since)
    query.where("placed_at < {}", filters.until)
    query.after(filters.cursor)
    return query
