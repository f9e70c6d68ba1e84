"""The read model of one order: what was ordered, what it costs, and how far it has come."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.money import Money
from domain.orders import (
    Address,
    OrderCancelled,
    OrderCompleted,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
)
from infra.eventsourcing.projections.fold_table import AT, Begins, Each, Folds, Is, Its, Part, Sets, Times
from infra.eventsourcing.projections.projection import ByStream, Column, Projection


@dataclass(frozen=True, kw_only=True)
class Item:
    """Pieces of a product, at the price of the day the order was placed."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price: Money
    line_total: Money


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the parcel can be asked for."""

    carrier: str
    tracking_no: str


@dataclass(frozen=True, kw_only=True)
class OrderSummary:
    """The order document."""

    id: UUID
    order_no: str
    customer_id: UUID
    status: OrderStatus
    items: tuple[Item, ...]
    subtotal: Money
    tax: Money
    total: Money
    shipping_address: Address | None = field(repr=False)
    tracking: Tracking | None
    placed_at: datetime
    paid_at: datetime | None
    shipped_at: datetime | None
    done_at: datetime | None
    cancelled_at: datetime | None
    version: int


ITEM: Final = Part(
    Item,
    product_id=Its("product_id"),
    sku=Its("sku"),
    name=Its("name"),
    quantity=Its("quantity"),
    unit_price=Its("unit_price"),
    line_total=Times("unit_price", "quantity"),
)

FOLDS: Final = Folds(
    OrderSummary,
    {
        OrderPlaced: Begins(
            id=Its("order_id"),
            order_no=Its("order_no"),
            customer_id=Its("customer_id"),
            status=Is(OrderStatus.PENDING),
            items=Each("lines", ITEM),
            subtotal=Its("subtotal"),
            tax=Its("tax"),
            total=Its("total"),
            shipping_address=Its("shipping_address"),
            placed_at=AT,
        ),
        OrderPaid: Sets(status=Is(OrderStatus.PAID), paid_at=AT),
        OrderPaymentFailed: Sets(),
        OrderOverpaid: Sets(),
        OrderShipped: Sets(
            status=Is(OrderStatus.SHIPPED),
            tracking=Part(Tracking, carrier=Its("carrier"), tracking_no=Its("tracking_no")),
            shipped_at=AT,
        ),
        OrderCompleted: Sets(status=Is(OrderStatus.DONE), done_at=AT),
        OrderCancelled: Sets(status=Is(OrderStatus.CANCELLED), cancelled_at=AT),
        OrderRefunded: Sets(status=Is(OrderStatus.REFUNDED)),
        OrderMoneyReturned: Sets(),
    },
)

ORDER_SUMMARY: Final = Projection[OrderSummary](
    name="order_summary",
    version=1,
    row=OrderSummary,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=ByStream(),
    project=FOLDS,
    columns=(
        Column("customer_id", "uuid", lambda order: order.customer_id),
        Column("status", "text", lambda order: order.status.value),
        Column("placed_at", "timestamptz", lambda order: order.placed_at),
    ),
    indexes=(
        "(customer_id, placed_at DESC, key DESC)",
        "(status, placed_at DESC, key DESC)",
        "(placed_at DESC, key DESC)",
    ),
)
