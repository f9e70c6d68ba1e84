"""The read models as folds: which documents come of which events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest

from domain.catalogue import (
    Image,
    ProductAdded,
    ProductDescribed,
    ProductDiscontinued,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
)
from domain.inventory import (
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
    StockSold,
    StockWithdrawn,
)
from domain.kernel.messages import Event, Recorded
from domain.money import Money
from domain.orders import (
    Address,
    CancelledBy,
    OrderCancelled,
    OrderCompleted,
    OrderLine,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
)
from domain.registry import EVENTS, REGISTRY
from infra.eventsourcing.projections.projection import Projection, RowMissing
from projections.account_card import ACCOUNT_CARD
from projections.daily_revenue import DAILY_REVENUE
from projections.order_summary import ORDER_SUMMARY
from projections.product_card import PRODUCT_CARD, image_file
from projections.registry import PROJECTIONS
from projections.room_card import ROOM_CARD
from projections.shop_counts import SHOP_COUNTS
from projections.sort_history import REMEMBERED

ORDER = UUID("01939d9e-0000-7000-8000-000000000001")
CUSTOMER = UUID("01939d9e-0000-7000-8000-000000000002")
PRODUCT = UUID("01939d9e-0000-7000-8000-000000000003")
START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
EUR = "EUR"

NAMES_OF_ORDER: dict[str, Any] = {"order_id": ORDER, "order_no": "W-2026-00000001", "customer_id": CUSTOMER}
LINES = (
    OrderLine(
        product_id=PRODUCT,
        sku="TEA-1",
        name="Tea",
        quantity=3,
        unit_price=Money(amount=Decimal("19.90"), currency=EUR),
        tax_rate=Decimal("0.19"),
    ),
)
PLACED = OrderPlaced(
    **NAMES_OF_ORDER,
    lines=LINES,
    subtotal=Money(amount=Decimal("59.70"), currency=EUR),
    tax=Money(amount=Decimal("11.34"), currency=EUR),
    total=Money(amount=Decimal("71.04"), currency=EUR),
    shipping_address=Address(name="Ada", line1="1 Mill Lane", city="Cambridge", country="GB"),
    expires_at=START + timedelta(minutes=30),
)
PAID = OrderPaid(**NAMES_OF_ORDER, payment_id="pay-1", amount=PLACED.total, lines=LINES)
SHIPPED = OrderShipped(**NAMES_OF_ORDER, carrier="DHL", tracking_no="00340")
ADDED = ProductAdded(
    product_id=PRODUCT,
    sku="TEA-1",
    sku_key="tea-1",
    name="Tea",
    description="Black",
    price=Money(amount=Decimal("19.90"), currency=EUR),
    tax_rate=Decimal("0.19"),
    category="drinks",
    tags=("black", "loose"),
)
SOLD_TWO = StockSold(product_id=PRODUCT, order_id=ORDER, quantity=2)
RECEIVED = StockReceived(product_id=PRODUCT, quantity=7, reason="delivery")


def record(event: Event, position: int, version: int) -> Recorded:
    name = REGISTRY.names[type(event)]
    return Recorded(
        position=position,
        stream_id=ORDER,
        version=version,
        category=name.partition(".")[0],
        shard=0,
        type=name,
        schema_version=EVENTS[name].version,
        data=event,
        metadata={},
        recorded_at=START + timedelta(seconds=position),
    )


def fold(projection: Projection[Any], *events: Event) -> Any:
    row = None
    for number, event in enumerate(events, start=1):
        row = projection.project(row, record(event, number, number))
    return row


def document(projection: Projection[Any], *events: Event) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(projection.document(fold(projection, *events)))
    return parsed


def test_a_placed_order_is_served_with_its_lines_and_sums() -> None:
    assert document(ORDER_SUMMARY, PLACED) == {
        "id": str(ORDER),
        "order_no": "W-2026-00000001",
        "customer_id": str(CUSTOMER),
        "status": "pending",
        "items": [
            {
                "product_id": str(PRODUCT),
                "sku": "TEA-1",
                "name": "Tea",
                "quantity": 3,
                "unit_price": {"amount": "19.90", "currency": "EUR"},
                "line_total": {"amount": "59.70", "currency": "EUR"},
            }
        ],
        "subtotal": {"amount": "59.70", "currency": "EUR"},
        "tax": {"amount": "11.34", "currency": "EUR"},
        "total": {"amount": "71.04", "currency": "EUR"},
        "shipping_address": {
            "name": "Ada",
            "line1": "1 Mill Lane",
            "city": "Cambridge",
            "country": "GB",
            "line2": None,
            "postal_code": None,
            "region": None,
        },
        "tracking": None,
        "placed_at": "2026-03-01T12:00:01.250000Z",
        "paid_at": None,
        "shipped_at": None,
        "done_at": None,
        "cancelled_at": None,
        "version": 1,
    }


def test_a_completed_order_tells_when_each_step_was_taken() -> None:
    done = document(ORDER_SUMMARY, PLACED, PAID, SHIPPED, OrderCompleted(**NAMES_OF_ORDER))
    assert done["status"] == "done"
    assert done["tracking"] == {"carrier": "DHL", "tracking_no": "00340"}
    assert [done["paid_at"], done["shipped_at"], done["done_at"]] == [
        "2026-03-01T12:00:02.250000Z",
        "2026-03-01T12:00:03.250000Z",
        "2026-03-01T12:00:04.250000Z",
    ]
    assert done["version"] == 4


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (OrderCancelled(**NAMES_OF_ORDER, by=CancelledBy.CUSTOMER, reason=None, lines=LINES), "cancelled"),
        (OrderPaymentFailed(**NAMES_OF_ORDER, payment_id="pay-1"), "pending"),
        (
            OrderOverpaid(**NAMES_OF_ORDER, payment_id="pay-2", amount=PLACED.total, was=OrderStatus.PENDING),
            "pending",
        ),
        (
            OrderRefunded(
                **NAMES_OF_ORDER,
                payment_id="pay-1",
                amount=PLACED.total,
                reason=None,
                was=OrderStatus.PAID,
                lines=LINES,
            ),
            "refunded",
        ),
        (
            OrderMoneyReturned(**NAMES_OF_ORDER, payment_id="pay-1", amount=PLACED.total, reference="re_1"),
            "pending",
        ),
    ],
)
def test_every_event_moves_the_version_that_receipts_speak_of(event: Event, status: str) -> None:
    order = document(ORDER_SUMMARY, PLACED, event)
    assert (order["status"], order["version"]) == (status, 2)


def test_a_product_card_joins_the_catalogue_and_the_stock() -> None:
    identity: dict[str, Any] = {"product_id": PRODUCT, "order_id": ORDER}
    card = document(
        PRODUCT_CARD,
        ADDED,
        StockReceived(product_id=PRODUCT, quantity=50, reason="delivery"),
        StockReserved(**identity, quantity=4),
        StockSold(**identity, quantity=3),
        StockReleased(**identity, quantity=1),
        StockReturned(**identity, quantity=1),
        StockWithdrawn(product_id=PRODUCT, quantity=7, reason="broken"),
    )
    assert card == {
        "id": str(PRODUCT),
        "sku": "TEA-1",
        "name": "Tea",
        "description": "Black",
        "price": {"amount": "19.90", "currency": "EUR"},
        "tax_rate": "0.19",
        "category": "drinks",
        "tags": ["black", "loose"],
        "stock_available": 50 - 4 + 1 + 1 - 7,
        "status": "active",
        "image_url": None,
        "sold": 2,
        "version": 1,
        "created_at": "2026-03-01T12:00:01.250000Z",
        "updated_at": "2026-03-01T12:00:07.250000Z",
    }


def test_a_product_card_follows_its_catalogue_events() -> None:
    card = document(
        PRODUCT_CARD,
        ADDED,
        ProductRepriced(product_id=PRODUCT, price=Money(amount=Decimal("21.00"), currency=EUR)),
        ProductDescribed(
            product_id=PRODUCT,
            name="Green tea",
            description="Sencha",
            category=None,
            tags=(),
            tax_rate=Decimal("0.07"),
        ),
        ProductSkuChanged(product_id=PRODUCT, sku="TEA-2", sku_key="tea-2"),
        ProductImageChanged(product_id=PRODUCT, image=Image(digest="5f" * 32, content_type="image/jpeg", size=9)),
        ProductDiscontinued(product_id=PRODUCT),
    )
    assert card["image_url"] == f"/v1/products/{PRODUCT}/image?v={'5f' * 32}.jpg"
    assert image_file(card["image_url"]) == f"{'5f' * 32}.jpg"
    assert card["price"] == {"amount": "21.00", "currency": "EUR"}
    assert (card["name"], card["description"], card["category"]) == ("Green tea", "Sencha", None)
    assert (card["tags"], card["tax_rate"], card["sku"]) == ([], "0.07", "TEA-2")
    assert (card["status"], card["version"]) == ("discontinued", 6)


def test_a_stock_event_does_not_move_the_version_of_the_product() -> None:
    received = StockReceived(product_id=PRODUCT, quantity=50, reason="delivery")
    row = PRODUCT_CARD.project(fold(PRODUCT_CARD, ADDED), record(received, 2, 17))
    assert row is not None
    assert row.version == 1


@pytest.mark.parametrize(
    ("projection", "events"),
    [
        (ORDER_SUMMARY, (PLACED,)),
        (ORDER_SUMMARY, (PLACED, PAID, SHIPPED, OrderCompleted(**NAMES_OF_ORDER))),
        (PRODUCT_CARD, (ADDED, StockReceived(product_id=PRODUCT, quantity=1, reason="delivery"))),
    ],
)
def test_a_row_read_back_from_its_document_is_the_row(projection: Projection[Any], events: tuple[Event, ...]) -> None:
    row = fold(projection, *events)
    again = projection.load(projection.document(row))
    assert again == row
    assert projection.document(again) == projection.document(row)


@pytest.mark.parametrize(
    ("projection", "event"), [(ORDER_SUMMARY, PAID), (PRODUCT_CARD, ProductDiscontinued(product_id=PRODUCT))]
)
def test_an_event_without_the_row_that_it_changes_is_refused(projection: Projection[Any], event: Event) -> None:
    with pytest.raises(RowMissing):
        projection.project(None, record(event, 1, 1))


def test_every_read_model_is_in_the_table_under_its_name() -> None:
    assert {name: each.name for name, each in PROJECTIONS.items()} == {name: name for name in PROJECTIONS}


@pytest.mark.parametrize(
    ("projection", "contexts"),
    [
        (ORDER_SUMMARY, {"order"}),
        (PRODUCT_CARD, {"product", "stock"}),
        (ACCOUNT_CARD, {"account"}),
        (ROOM_CARD, {"room"}),
    ],
)
def test_a_read_model_handles_every_event_of_its_contexts(projection: Projection[Any], contexts: set[str]) -> None:
    known = {kind.cls for name, kind in EVENTS.items() if name.partition(".")[0] in contexts}
    assert REGISTRY.concerns(projection.handles).contexts == contexts
    assert projection.handles == known


def test_a_product_remembers_where_it_stood_in_lists() -> None:
    price = Money(amount=Decimal("5.00"), currency=EUR)
    row = fold(PRODUCT_CARD, ADDED, ProductRepriced(product_id=PRODUCT, price=price), SOLD_TWO, RECEIVED)
    assert [(each.until, each.at) for each in row.places.price] == [(2, "19.90")]
    assert row.places.moved == 2
    assert row.places.name == ()
    kept = PRODUCT_CARD.columns[-1]
    assert PRODUCT_CARD.load(PRODUCT_CARD.document(row), kept.value(row)) == row


def test_the_places_that_are_remembered_are_bounded() -> None:
    prices = [Money(amount=Decimal(n), currency=EUR) for n in range(20, REMEMBERED + 29)]
    row = fold(PRODUCT_CARD, ADDED, *[ProductRepriced(product_id=PRODUCT, price=price) for price in prices])
    assert [Decimal(each.at) for each in row.places.price] == [price.amount for price in prices[8:-1]]


def test_every_status_of_an_order_is_counted_once() -> None:
    refund = OrderRefunded(
        **NAMES_OF_ORDER, payment_id="pay-1", amount=PLACED.total, reason=None, was=OrderStatus.DONE, lines=LINES
    )
    lives = [PLACED, PAID, SHIPPED, OrderCompleted(**NAMES_OF_ORDER), refund]
    for number, status in enumerate(["pending", "paid", "shipped", "done", "refunded"], start=1):
        counts = document(SHOP_COUNTS, *lives[:number])
        assert {each.value: counts[each.value] for each in OrderStatus if counts[each.value]} == {status: 1}


def test_an_order_that_never_was_paid_has_nothing_to_refund() -> None:
    refund = OrderRefunded(
        **NAMES_OF_ORDER, payment_id="pay-1", amount=PLACED.total, reason=None, was=OrderStatus.PENDING, lines=LINES
    )
    with pytest.raises(ValueError, match="nothing to refund"):
        fold(SHOP_COUNTS, PLACED, refund)


def test_a_refund_counts_on_its_own_day() -> None:
    refund = OrderRefunded(
        **NAMES_OF_ORDER, payment_id="pay-1", amount=PLACED.total, reason=None, was=OrderStatus.PAID, lines=LINES
    )
    late = replace(record(refund, 2, 3), recorded_at=START + timedelta(days=1))
    assert (DAILY_REVENUE.key(record(PAID, 1, 2)), DAILY_REVENUE.key(late)) == ("2026-03-01.EUR.0", "2026-03-02.EUR.0")
    day = DAILY_REVENUE.project(None, late)
    assert day is not None
    assert (day.paid, day.refunded, day.orders) == (Money.zero(EUR), PLACED.total, 0)
