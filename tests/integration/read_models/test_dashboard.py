"""The dashboard: exact to the cent against SQL over the log, whatever happened and on whichever day."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.queries.dashboard import MODELS, statement
from domain.accounts import AccountErased, Role
from domain.catalogue import ProductDiscontinued
from domain.inventory import StockReturned, StockSold
from domain.money import MINOR_DIGITS, Money
from domain.orders import OrderCompleted, OrderEvent, OrderOverpaid, OrderShipped, OrderStatus
from infra.eventsourcing.projections.rebuild import begin, build, finish, shares
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.builders import (
    account_registered,
    order_cancelled,
    order_paid,
    order_placed,
    order_refunded,
    product_added,
)
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import Happening, order, product, stock
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

_BY_STATUS: Final = """
SELECT status, count(*) FROM (
    SELECT DISTINCT ON (stream_id) CASE type
        WHEN 'order.placed' THEN 'pending' WHEN 'order.completed' THEN 'done'
        ELSE split_part(type, '.', 2) END AS status
    FROM events WHERE category = 'order' AND type <> 'order.overpaid'
    ORDER BY stream_id, version DESC) o
GROUP BY status"""
_REVENUE: Final = """
SELECT (recorded_at AT TIME ZONE 'UTC')::date::text AS day, data #>> '{amount,currency}' AS currency,
    count(*) FILTER (WHERE type = 'order.paid') AS orders,
    coalesce(sum((data #>> '{amount,amount}')::numeric) FILTER (WHERE type = 'order.paid'), 0) AS paid,
    coalesce(sum((data #>> '{amount,amount}')::numeric) FILTER (WHERE type = 'order.refunded'), 0) AS refunded
FROM events WHERE type IN ('order.paid', 'order.refunded') GROUP BY 1, 2 ORDER BY 1 DESC, 2"""
_SOLD: Final = """
SELECT data ->> 'product_id' AS id,
    sum(CASE type WHEN 'stock.sold' THEN 1 ELSE -1 END * (data ->> 'quantity')::bigint)::bigint AS sold
FROM events WHERE type IN ('stock.sold', 'stock.returned') GROUP BY 1"""
_STANDING: Final = "SELECT count(*) FILTER (WHERE type = $1) - count(*) FILTER (WHERE type = $2) FROM events"

LIVES: Final = st.sampled_from(["placed", "cancelled", "late", "paid", "shipped", "done", "refunded", "returned"])
AMOUNTS: Final = st.tuples(st.sampled_from(["EUR", "JPY", "KWD"]), st.integers(1, 10**14))
ORDERS: Final = st.lists(
    st.tuples(LIVES, AMOUNTS, st.lists(st.integers(0, 200 * 24 * 60), min_size=4, max_size=4)), max_size=8
)
PRODUCTS: Final = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=3)
ACCOUNTS: Final = st.lists(st.booleans(), max_size=3)


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene, scene.relay(), scene.projector():
        yield scene


@pytest.fixture
async def open_shop(scene: Scene) -> AsyncIterator[Shop]:
    async with shop(scene.settings.model_copy(update={"log_level": "error", "rate_limits": "off"})) as opened:
        yield opened


@pytest.fixture
async def staff(open_shop: Shop) -> Client:
    return await open_shop.client(Role.STAFF)


def life(what: str, amount: tuple[str, int]) -> list[OrderEvent]:
    """The events of an order that came as far as this."""
    currency, units = amount
    money = Money(amount=Decimal(units).scaleb(-MINOR_DIGITS[currency]), currency=currency)
    one: dict[str, Any] = {"order_id": uuid4()}
    names: dict[str, Any] = {**one, "order_no": "W-1", "customer_id": uuid4()}
    placed, paid = order_placed(**one), replace(order_paid(**one), amount=money)
    shipped = OrderShipped(**names, carrier="DHL", tracking_no="1")
    overpaid = OrderOverpaid(**names, payment_id="pay-2", amount=money, was=OrderStatus.CANCELLED)

    def refunded(was: OrderStatus) -> OrderEvent:
        return replace(order_refunded(**one), amount=money, was=was)

    lives: dict[str, list[OrderEvent]] = {
        "placed": [placed],
        "cancelled": [placed, order_cancelled(**one)],
        "late": [placed, order_cancelled(**one), overpaid],
        "paid": [placed, paid],
        "shipped": [placed, paid, shipped],
        "done": [placed, paid, shipped, OrderCompleted(**names)],
        "refunded": [placed, paid, refunded(OrderStatus.PAID)],
        "returned": [placed, paid, shipped, refunded(OrderStatus.SHIPPED)],
    }
    return lives[what]


def sales(discontinued: bool, sold: int, returned: int) -> list[Happening]:
    product_id = uuid4()
    moved: dict[str, Any] = {"product_id": product_id, "order_id": uuid4()}
    happened = [product(product_id, product_added(product_id=product_id))]
    if sold:
        happened.append(stock(product_id, StockSold(**moved, quantity=sold)))
    if 0 < returned <= sold:
        happened.append(stock(product_id, StockReturned(**moved, quantity=returned)))
    if discontinued:
        happened.append(product(product_id, ProductDiscontinued(product_id=product_id)))
    return happened


def account(erased: bool) -> list[Happening]:
    one = uuid4()
    events = [account_registered(account_id=one), *([AccountErased(account_id=one)] if erased else [])]
    return [Happening(one, one, "account", event) for event in events]


async def append(scene: Scene, dated: Sequence[tuple[Happening, datetime]]) -> None:
    """Appends events as of these times."""
    async with scene.writer.session.transaction():
        positions = await scene.writer.append([happening for happening, _ in dated])
        await scene.writer.session.execute(
            "UPDATE events SET recorded_at = d.at FROM unnest($1::bigint[], $2::timestamptz[]) AS d (position, at) "
            "WHERE events.position = d.position",
            positions,
            [at for _, at in dated],
        )


async def seen(scene: Scene, staff: Client) -> dict[str, Any]:
    """The dashboard once everything is applied."""
    for name in MODELS:
        await scene.reached(name)
    answer = await staff.send("GET", "/v1/dashboard?days=366&top=100")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def agrees_with_the_log(scene: Scene, shown: dict[str, Any]) -> None:
    fetch = scene.database.fetch
    by_status = {row[0]: row[1] for row in await fetch(_BY_STATUS)}
    assert shown["orders_by_status"] == {status.value: by_status.get(status.value, 0) for status in OrderStatus}
    exact = [
        (row["day"], row["currency"], row["orders"], row["paid"], row["refunded"], row["paid"] - row["refunded"])
        for row in await fetch(_REVENUE)
    ]
    assert [_exactly(day) for day in shown["revenue_by_day"]] == exact
    sold = {row["id"]: row["sold"] for row in await fetch(_SOLD) if row["sold"]}
    assert [each["sold"] for each in shown["top_products"]] == sorted(sold.values(), reverse=True)[:100]
    assert all(sold[each["product_id"]] == each["sold"] for each in shown["top_products"])
    assert shown["accounts"] == (await fetch(_STANDING, "account.registered", "account.erased"))[0][0]
    assert shown["products"] == (await fetch(_STANDING, "product.added", "product.discontinued"))[0][0]
    assert shown["as_of_position"] == (await fetch("SELECT log_position()"))[0][0]


def _exactly(day: dict[str, Any]) -> tuple[Any, ...]:
    currency = day["paid"]["currency"]
    assert {day[name]["currency"] for name in ("refunded", "revenue")} == {currency}
    for name in ("paid", "refunded", "revenue"):
        assert -Decimal(day[name]["amount"]).as_tuple().exponent == MINOR_DIGITS[currency]  # type: ignore[operator]
    return (
        day["day"],
        currency,
        day["orders"],
        *(Decimal(day[name]["amount"]) for name in ("paid", "refunded", "revenue")),
    )


@given(orders=ORDERS, products=PRODUCTS, accounts=ACCOUNTS)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_dashboard_is_exact_to_the_cent(
    scene: Scene,
    staff: Client,
    orders: list[tuple[str, tuple[str, int], list[int]]],
    products: list[tuple[bool, int, int]],
    accounts: list[bool],
) -> None:
    now = datetime.now(UTC)
    dated = [
        (order(event.order_id, event), now - timedelta(minutes=ago))
        for what, amount, days in orders
        for event, ago in zip(life(what, amount), sorted(days, reverse=True), strict=False)
    ]
    others = [each for sold in products for each in sales(*sold)] + [each for one in accounts for each in account(one)]
    dated += [(each, now) for each in others]
    if dated:
        await append(scene, dated)
    await agrees_with_the_log(scene, await seen(scene, staff))


async def something_happens(scene: Scene) -> None:
    now = datetime.now(UTC)
    lives = [life(what, ("EUR", 1999 + n)) for n, what in enumerate(["paid", "done", "refunded", "late"] * 4)]
    await append(scene, [(order(event.order_id, event), now) for events in lives for event in events])
    await append(scene, [(each, now) for n in range(6) for each in sales(n == 2, n, 1)])


@pytest.mark.parametrize("name", MODELS)
async def test_a_replayed_dashboard_says_the_same(scene: Scene, staff: Client, name: str) -> None:
    await something_happens(scene)
    before = await seen(scene, staff)
    async with connected(scene.settings.database_url.get_secret_value()) as session:
        building = await begin(session, scene.log, PROJECTIONS[name])
        for share in await shares(session, building, 2):
            await build(session, building, share, lambda _events, _positions: None)
        await finish(session, building)
    await agrees_with_the_log(scene, await seen(scene, staff))
    assert await seen(scene, staff) == before


async def test_the_position_is_held_back_by_what_is_not_applied_yet(scene: Scene, staff: Client) -> None:
    await something_happens(scene)
    await seen(scene, staff)
    shard, position = (await scene.database.fetch("SELECT shard, position FROM events ORDER BY position LIMIT 1"))[0]
    session = scene.writer.session
    transaction = session.transaction()
    await transaction.start()  # nobody else sees it, and so nobody can put it right meanwhile
    await session.execute(
        "UPDATE checkpoints SET position = 0 WHERE consumer = 'shop_counts' AND generation = 1 AND shard = $1", shard
    )
    held = await session.fetchval(*statement(dict.fromkeys(MODELS, 1), 30, 10))
    await transaction.rollback()
    assert held == position - 1


async def test_only_staff_see_it_and_bad_questions_are_refused(open_shop: Shop, staff: Client) -> None:
    customer = await open_shop.client()
    assert (await open_shop.http.get("/v1/dashboard")).status_code == 401
    assert (await customer.send("GET", "/v1/dashboard")).json()["code"] == "insufficient-scope"
    for question in ("days=0", "days=367", "top=0", "top=101", "days=x", "other=1"):
        assert (await staff.send("GET", f"/v1/dashboard?{question}")).status_code == 422, question


async def test_an_unchanged_dashboard_is_not_sent_again(scene: Scene, staff: Client) -> None:
    await seen(scene, staff)  # that there is one more account, which is the staff's own
    first = await staff.send("GET", "/v1/dashboard")
    assert first.headers["cache-control"] == "private, no-cache"
    again = await staff.send("GET", "/v1/dashboard", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


async def test_a_write_is_in_the_dashboard_that_its_token_asks_for(open_shop: Shop, staff: Client) -> None:
    made = await staff.post(
        "/v1/products", {"sku": "K-1", "name": "Kettle", "price": {"amount": "10.00", "currency": "EUR"}}
    )
    shown = await staff.send("GET", "/v1/dashboard", Consistency_Token=made.headers["consistency-token"])
    assert shown.json()["products"] == 1
