"""The shop at a glance: sums that read models have kept, added up over shards in one statement and one snapshot."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import BaseModel, Field

from api.dependencies import Context
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep
from api.queries.documents import PRIVATE, if_none_match, needs_of, presented
from api.rate_limits.policies import limited
from api.schemas import MoneyBody, Params
from api.security import require
from domain.orders import OrderStatus
from infra.eventsourcing.read_cache import Document

routes = router(tags=["dashboard"])

COUNTS: Final = "shop_counts"
REVENUE: Final = "daily_revenue"
PRODUCTS: Final = "product_card"
MODELS: Final = (COUNTS, REVENUE, PRODUCTS)

Viewer = Annotated[Principal, Depends(require("dashboard:read"))]


class DayRevenue(BaseModel):
    """A day of UTC in one currency. ``revenue`` is what was ``paid`` less what was ``refunded`` on that day."""

    day: date
    orders: int
    paid: MoneyBody
    refunded: MoneyBody
    revenue: MoneyBody


class TopProduct(BaseModel):
    """A product and how many pieces of it were sold."""

    product_id: UUID
    sku: str
    name: str
    sold: int


class Dashboard(BaseModel):
    """Accounts that were not erased, products on sale, and orders, all as of a position of the log or later."""

    accounts: int
    products: int
    orders_by_status: dict[OrderStatus, int]
    revenue_by_day: list[DayRevenue]
    top_products: list[TopProduct]
    as_of_position: int


class DashboardParams(Params):
    """How much of it."""

    days: int = Field(30, ge=1, le=366, description="revenue of so many days, the last of them today")
    top: int = Field(10, ge=1, le=100, description="so many products")


@routes.get("/v1/dashboard", response_model=Dashboard)
@limited("read")
async def read_dashboard(
    request: Request,
    context: Context,
    _: Viewer,
    params: Annotated[DashboardParams, QueryParams()],
    pages: PagesDep,
) -> RawResponse:
    """Sums of the shop. Every event up to `as_of_position` is in them."""
    needs = needs_of(context)
    (row,) = await pages.over(MODELS, statement, params.days, params.top, needs=needs, wait=context.wait)
    position, parts = row["position"], {name: orjson.loads(row[name]) for name in ("counts", "days", "top")}
    body = orjson.dumps(_document(position, **parts))
    return presented(Document(position, position, body), PRIVATE).to(if_none_match(request))


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


def statement(generations: Mapping[str, int]) -> str:
    """The whole dashboard of these generations, of ``$1`` days and ``$2`` top products.

    Names and numbers of our own are all that is put into it.
    """
    served = ", ".join(f"('{name}', {generation})" for name, generation in generations.items())
    counted = ("accounts", "products", *OrderStatus)
    counts = ", ".join(f"coalesce(sum((document ->> '{name}')::bigint), 0)::bigint AS {name}" for name in counted)

    def top(sign: str) -> str:
        """The top products on sale, and those that no longer are: each has an index of its own."""
        table = f"rm_{PRODUCTS}_{generations[PRODUCTS]}"
        return f"""
            SELECT key AS product_id, document ->> 'sku' AS sku, name, sold FROM {table}
            WHERE status {sign} 'active' AND sold > 0 ORDER BY sold DESC, key DESC LIMIT $2"""  # noqa: S608

    return f"""
SELECT
    (SELECT coalesce(min(coalesce(n.next - 1, h.head)), 0)
     FROM log_position() AS h (head), checkpoints c, LATERAL (
         SELECT min(e.position) AS next FROM events e WHERE e.shard = c.shard AND e.position > c.position) n
     WHERE (c.consumer, c.generation) IN ({served})) AS position,
    (SELECT to_json(t) FROM (SELECT {counts} FROM rm_{COUNTS}_{generations[COUNTS]}) t) AS counts,
    (SELECT coalesce(json_agg(t), '[]') FROM (
        SELECT day, currency, sum(orders)::bigint AS orders, sum(paid)::text AS paid,
               sum(refunded)::text AS refunded, (sum(paid) - sum(refunded))::text AS revenue
        FROM rm_{REVENUE}_{generations[REVENUE]}
        WHERE day > (now() AT TIME ZONE 'UTC')::date - $1::integer
        GROUP BY day, currency ORDER BY day DESC, currency) t) AS days,
    (SELECT coalesce(json_agg(t), '[]') FROM (
        SELECT product_id, sku, name, sold FROM (({top("=")}) UNION ALL ({top("<>")})) AS sold
        ORDER BY sold DESC, product_id DESC LIMIT $2) t) AS top"""  # noqa: S608
