"""The shop at a glance: sums that read models have kept, added up over shards in one statement and one snapshot."""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import BaseModel, Field

from api.dependencies import Context
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep
from api.queries.documents import PRIVATE, cached_response, if_none_match, needs_of
from api.rate_limits.policies import limited
from api.schemas import MoneyBody, Params
from api.security import require
from domain.orders import OrderStatus
from infra.eventsourcing.projections.standing import LAGS, PARKED
from infra.eventsourcing.projections.table_name import table_name
from infra.eventsourcing.read_cache import Document
from infra.postgres.statements import Sent, Statement, inline
from infra.postgres.tables.consumers import checkpoints
from infra.postgres.tables.log import events

routes = router(tags=["dashboard"])

COUNTS: Final = "shop_counts"
REVENUE: Final = "daily_revenue"
PRODUCTS: Final = "product_card"
MODELS: Final = (COUNTS, REVENUE, PRODUCTS)

_most: Final[Any] = sa.bindparam("top")

Viewer = Annotated[Principal, Depends(require("dashboard:read"))]


class DayRevenue(BaseModel):
    """A day in one currency."""

    day: date
    """The day, in UTC."""
    orders: int
    """How many orders were paid on it."""
    paid: MoneyBody
    """What came in."""
    refunded: MoneyBody
    """What went back."""
    revenue: MoneyBody
    """What was paid less what was refunded; below zero on a day on which more went back."""


class TopProduct(BaseModel):
    """A product and how many pieces of it were sold."""

    product_id: UUID
    """Which product."""
    sku: str
    """Its sku."""
    name: str
    """What it is called."""
    sold: int
    """How many pieces were sold and not given back."""


class Dashboard(BaseModel):
    """The shop in figures, all of them as of one moment: a position of the log, or later.

    Only while `lag_seconds` and `parked_streams` are both 0 is everything in it that has happened.
    """

    accounts: int
    """How many accounts there are, but for erased ones."""
    products: int
    """How many products are on sale."""
    orders_by_status: dict[OrderStatus, int]
    """How many orders there are in each status."""
    revenue_by_day: list[DayRevenue]
    """The days on which money moved, the latest first; one for each currency."""
    top_products: list[TopProduct]
    """The most sold products, the first of them first."""
    as_of_position: int
    """Every event of the log up to this position is in the figures."""
    lag_seconds: float
    """How many seconds ago the oldest event happened that is not in these sums yet."""
    parked_streams: int
    """How many streams the read models of these sums have set aside: what has happened there since is not in them."""


class DashboardParams(Params):
    """How much of it."""

    days: int = Field(30, ge=1, le=366)
    """Revenue of so many days, 1 to 366, the last of them today."""
    top: int = Field(10, ge=1, le=100)
    """So many top products, 1 to 100."""


@routes.get("/v1/dashboard", response_model=Dashboard)
@limited("read")
async def read_dashboard(
    request: Request,
    context: Context,
    _: Viewer,
    params: Annotated[DashboardParams, QueryParams()],
    pages: PagesDep,
) -> RawResponse:
    """Sums of the shop. Every event up to `as_of_position` is in them, but for those of parked streams."""
    needs = needs_of(context)
    (row,) = await pages.over(
        MODELS, lambda served: statement(served, params.days, params.top), needs=needs, wait=context.wait
    )
    position, parts = row["position"], {name: orjson.loads(row[name]) for name in ("counts", "days", "top")}
    standing = {"lag_seconds": round(row["lag_seconds"], 3), "parked_streams": row["parked_streams"]}
    body = orjson.dumps(_document(position, **parts) | standing)
    return cached_response(Document(position, position, body), PRIVATE).to(if_none_match(request))


def _document(position: int, counts: Mapping[str, int], days: list[Any], top: list[Any]) -> dict[str, Any]:
    return {
        "accounts": counts["accounts"],
        "products": counts["products"],
        "orders_by_status": {status.value: counts[status.value] for status in OrderStatus},
        "revenue_by_day": [_day(**day) for day in days],
        "top_products": top,
        "as_of_position": position,
    }


def _day(currency: str, day: str, orders: int, **amounts: str) -> dict[str, Any]:
    """Amounts come as the text that Postgres writes of them, and so with every digit."""
    money = {name: {"amount": amount, "currency": currency} for name, amount in amounts.items()}
    return {"day": day, "orders": orders, **money}


def statement(generations: Mapping[str, int], days: int, top: int) -> Sent:
    """The whole dashboard of these generations, of so many days and top products."""
    return _statement(tuple(generations.items()))(days=days, top=top)


@lru_cache(maxsize=16)
def _statement(served: tuple[tuple[str, int], ...]) -> Statement:
    generations = dict(served)
    counts = _counts(generations[COUNTS])
    days, top = _days(generations[REVENUE]), _top(generations[PRODUCTS])
    return Statement(
        sa.select(
            _position(served).label("position"),
            sa.select(sa.func.to_json(counts.table_valued())).scalar_subquery().label("counts"),
            _list_of(days).label("days"),
            _list_of(top).label("top"),
            _over_models(sa.func.max, LAGS.subquery("lags"), "name", "seconds").label("lag_seconds"),
            _over_models(sa.func.sum, PARKED.subquery("aside"), "consumer", "streams").label("parked_streams"),
        )
    )


def _position(served: tuple[tuple[str, int], ...]) -> sa.ScalarSelect[Any]:
    """Up to where all shards of these have applied the log."""
    head = sa.func.log_position(type_=sa.BigInteger).column_valued("head")
    beyond = sa.and_(events.c.shard == checkpoints.c.shard, events.c.position > checkpoints.c.position)
    unread = sa.select(sa.func.min(events.c.position).label("next")).where(beyond).lateral("unread")
    applied = sa.func.coalesce(unread.c.next - inline(1), head)
    of_these = sa.or_(
        *[
            sa.and_(checkpoints.c.consumer == inline(name), checkpoints.c.generation == inline(generation))
            for name, generation in served
        ]
    )
    position = sa.func.coalesce(sa.func.min(applied), inline(0))
    shards = checkpoints.join(unread, sa.true())
    return sa.select(position).select_from(shards).where(of_these).scalar_subquery()


def _over_models(add: Any, rows: sa.Subquery, name: str, column: str) -> sa.ScalarSelect[Any]:
    """Of the read models that the dashboard is made of, put together; 0 where there is none."""
    ours = rows.c[name].in_([inline(model) for model in MODELS])
    told = sa.func.coalesce(add(rows.c[column]), inline(0))
    return sa.select(sa.cast(told, rows.c[column].type)).where(ours).scalar_subquery()


def _rows(model: str, generation: int, *columns: str) -> sa.TableClause:
    return sa.table(table_name(model, generation), *[sa.column(name) for name in columns])


def _counts(generation: int) -> sa.Subquery:
    """Everything that is counted, added up over the shards."""
    document = _rows(COUNTS, generation, "document").c.document
    counted = ("accounts", "products", *map(str, OrderStatus))  # by the document: a new status has no column of its own
    each = [sa.cast(document.op("->>")(inline(name)), sa.BigInteger).label(name) for name in counted]
    total = [sa.func.coalesce(sa.func.sum(column), inline(0)) for column in each]
    named = zip(counted, total, strict=True)
    return sa.select(*[sa.cast(sum_, sa.BigInteger).label(name) for name, sum_ in named]).subquery("counted")


def _days(generation: int) -> sa.Subquery:
    rows = _rows(REVENUE, generation, "day", "currency", "orders", "paid", "refunded")
    paid, refunded = sa.func.sum(rows.c.paid), sa.func.sum(rows.c.refunded)
    today = sa.cast(sa.func.timezone(inline("UTC"), sa.func.now()), sa.Date)
    sums = (
        sa.cast(sa.func.sum(rows.c.orders), sa.BigInteger).label("orders"),
        sa.cast(paid, sa.Text).label("paid"),
        sa.cast(refunded, sa.Text).label("refunded"),
        sa.cast(paid - refunded, sa.Text).label("revenue"),
    )
    lately = sa.select(rows.c.day, rows.c.currency, *sums).where(
        rows.c.day > today - sa.bindparam("days", type_=sa.Integer)
    )
    return lately.group_by(rows.c.day, rows.c.currency).order_by(rows.c.day.desc(), rows.c.currency).subquery("days")


def _top(generation: int) -> sa.Subquery:
    """The top products among those on sale, and those that no longer are: each has an index of its own."""
    rows = _rows(PRODUCTS, generation, "key", "document", "name", "sold", "status")
    sku = rows.c.document.op("->>")(inline("sku"))
    sold = sa.select(rows.c.key.label("product_id"), sku.label("sku"), rows.c.name, rows.c.sold)
    sold = sold.where(rows.c.sold > inline(0)).order_by(rows.c.sold.desc(), rows.c.key.desc()).limit(_most)
    active = rows.c.status == inline("active")
    either = sa.union_all(sold.where(active), sold.where(~active)).subquery("sold")
    return sa.select(either).order_by(either.c.sold.desc(), either.c.product_id.desc()).limit(_most).subquery("top")


def _list_of(rows: sa.Subquery) -> sa.ScalarSelect[Any]:
    found = sa.func.json_agg(rows.table_valued())
    return sa.select(sa.func.coalesce(found, inline("[]"))).select_from(rows).scalar_subquery()
