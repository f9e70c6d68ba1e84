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
class OrderItem:
    """Pieces of a product, at the price of the day the order was placed."""

    product_id: UUID
    """Which product."""
    sku: str
    """Its sku on that day."""
    name: str
    """What it was called on that day."""
    quantity: int
    """How many pieces."""
    unit_price: Money
    """The net price of one piece."""
    line_total: Money
    """The net price of all of them."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the parcel can be asked for."""

    carrier: str
    """Who carries the parcel."""
    tracking_no: str
    """The parcel's number there."""


@dataclass(frozen=True, kw_only=True)
class OrderSummary:
    """The order document."""

    id: UUID
    """The order's id."""
    order_no: str
    """The order's number for people."""
    customer_id: UUID
    """The account that placed it."""
    status: OrderStatus
    """How far it has come."""
    items: tuple[OrderItem, ...]
    """What was ordered."""
    subtotal: Money
    """The net prices of all items."""
    tax: Money
    """The tax on them, rounded half-even for each item."""
    total: Money
    """What has to be paid: subtotal and tax."""
    shipping_address: Address | None = field(repr=False)
    """Where the parcel goes."""
    tracking: Tracking | None
    """Where the parcel can be asked for, once it is shipped."""
    placed_at: datetime
    """When it was placed."""
    paid_at: datetime | None
    """When its payment came."""
    shipped_at: datetime | None
    """When the parcel went out."""
    done_at: datetime | None
    """When the parcel had arrived."""
    cancelled_at: datetime | None
    """When it was cancelled."""
    version: int
    """How many events it has: in quotes, what `If-Match` takes."""


ITEM: Final = Part(
    OrderItem,
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
    read_back=True,
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
