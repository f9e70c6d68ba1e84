"""The read model of one order: what was ordered, what it costs, and how far it has come."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.messages import Recorded
from domain.money import Money
from domain.orders import (
    Address,
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
from projections.declaration import ByStream, Column, Projection, amend, known, make


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


def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
    """The order after the event. Every event moves the version, so that the document's is the stream's."""
    if isinstance(event.data, OrderPlaced):
        return _placed(event.data, event)
    order, version, now = known(row, event), event.version, event.recorded_at
    match event.data:
        case OrderPaid():
            return amend(order, version=version, status=OrderStatus.PAID, paid_at=now)
        case OrderShipped(carrier=carrier, tracking_no=number):
            tracking = make(Tracking, carrier=carrier, tracking_no=number)
            return amend(order, version=version, status=OrderStatus.SHIPPED, tracking=tracking, shipped_at=now)
        case OrderCompleted():
            return amend(order, version=version, status=OrderStatus.DONE, done_at=now)
        case OrderCancelled():
            return amend(order, version=version, status=OrderStatus.CANCELLED, cancelled_at=now)
        case OrderRefunded():
            return amend(order, version=version, status=OrderStatus.REFUNDED)
        case _:
            return amend(order, version=version)


def _placed(placed: OrderPlaced, event: Recorded) -> OrderSummary:
    return make(
        OrderSummary,
        id=placed.order_id,
        order_no=placed.order_no,
        customer_id=placed.customer_id,
        status=OrderStatus.PENDING,
        items=tuple([_item(line) for line in placed.lines]),
        subtotal=placed.subtotal,
        tax=placed.tax,
        total=placed.total,
        shipping_address=placed.shipping_address,
        tracking=None,
        placed_at=event.recorded_at,
        paid_at=None,
        shipped_at=None,
        done_at=None,
        cancelled_at=None,
        version=event.version,
    )


def _item(line: OrderLine) -> Item:
    return make(
        Item,
        product_id=line.product_id,
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        line_total=line.line_total,
    )


ORDER_SUMMARY: Final = Projection[OrderSummary](
    name="order_summary",
    version=1,
    row=OrderSummary,
    begins=frozenset({OrderPlaced}),
    handles=frozenset(
        {
            OrderPlaced,
            OrderPaid,
            OrderPaymentFailed,
            OrderOverpaid,
            OrderShipped,
            OrderCompleted,
            OrderCancelled,
            OrderRefunded,
            OrderMoneyReturned,
        }
    ),
    unopened=frozenset(
        {
            OrderPaid,
            OrderPaymentFailed,
            OrderOverpaid,
            OrderCompleted,
            OrderCancelled,
            OrderRefunded,
            OrderMoneyReturned,
        }
    ),
    key=ByStream(),
    project=project,
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
