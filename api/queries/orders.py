"""Reading orders: customers their own, staff all of them."""

from datetime import datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import Field

from api.dependencies import Context, LogDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import OrdersDep, PagesDep
from api.queries.documents import PRIVATE, if_none_match, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer
from api.queries.lists.query import Condition, Query, Sort
from api.queries.order_history import AsOf, order_as_of, sees
from api.queries.read_models import ORDERS
from api.rate_limits.policies import limited
from api.security import require
from domain.orders import OrderStatus
from infra.eventsourcing.event_log import EventLog
from infra.postgres.statements import TIMESTAMPTZ
from infra.schemas.forms import Moment
from projections.order_summary import OrderSummary

routes = router(tags=["orders"])

MANAGE: Final = "orders:manage"
NEWEST: Final = Sort(
    column="placed_at", type=TIMESTAMPTZ, read=datetime.fromisoformat, write=datetime.isoformat, descending=True
)
_OF_CUSTOMER: Final = Condition(sa.column("customer_id", sa.Uuid) == sa.bindparam("customer"))
_OF_STATUS: Final = Condition(sa.column("status", sa.Text) == sa.bindparam("status"))
_SINCE: Final = Condition(sa.column("placed_at", TIMESTAMPTZ) >= sa.bindparam("since"))
_UNTIL: Final = Condition(sa.column("placed_at", TIMESTAMPTZ) < sa.bindparam("until"))

Reader = Annotated[Principal, Depends(require("orders:read"))]


class OrderFilters(PageParams):
    """Which orders; the newest come first."""

    status: OrderStatus | None = None
    """Only those in this status."""
    since: Moment | None = Field(None, alias="from")
    """Placed at this time or later."""
    until: Moment | None = Field(None, alias="to")
    """Placed before this time."""
    customer_id: UUID | None = None
    """Whose; only staff may ask for another's."""


@routes.get("/v1/orders", response_model=Page[OrderSummary])
@limited("read")
async def list_orders(
    request: Request,
    context: Context,
    reader: Reader,
    filters: Annotated[OrderFilters, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """Orders, page by page: one's own, or for staff everybody's."""
    query = _query(log, filters, _customer(reader, filters.customer_id))
    page = await pages.fetch(query, filters.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PRIVATE)


@routes.get("/v1/orders/{order_id}", response_model=OrderSummary)
@limited("read")
async def read_order(
    request: Request,
    context: Context,
    order_id: UUID,
    reader: Reader,
    orders: OrdersDep,
    pages: PagesDep,
    log: LogDep,
    as_of: Annotated[
        AsOf | None, QueryParams(description="How it was at that time (RFC 3339), or at that version.")
    ] = None,
) -> RawResponse:
    """One order, as it is or as it was. Another customer's is not found.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    if as_of is not None:
        needs_of(context)  # what is read from the log includes every write, but a false token is refused here too
        return await order_as_of(pages, log, order_id, as_of, reader, if_none_match(request))
    found = await orders.find(order_id, context, reader, partial(sees, reader))
    return found.to(if_none_match(request))


def _customer(reader: Principal, wanted: UUID | None) -> UUID | None:
    """Whose orders are listed; None for everybody's."""
    if MANAGE in reader.scopes:
        return wanted
    if wanted not in (None, reader.id):
        raise Problem("insufficient-scope", "Only staff may list another customer's orders.")
    return reader.id


def _query(log: EventLog, filters: OrderFilters, customer: UUID | None) -> Query:
    conditions = {**filters.model_dump(exclude={"limit", "cursor"}), "customer_id": customer}
    query = Query(projection=ORDERS, sort=NEWEST, list_id=cursors.list_id(log, ORDERS, conditions))
    query.within(_OF_CUSTOMER, customer=customer)
    # Of a customer's orders the status is looked at; of all, an index has them by their status.
    (query.within if customer is None else query.where)(_OF_STATUS, status=filters.status)
    query.within(_SINCE, since=filters.since)
    query.within(_UNTIL, until=filters.until)
    continue_after(query, filters.cursor)
    return query
