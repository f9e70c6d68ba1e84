"""Public shapes of an order's events: what subscribers of webhooks are told, and all that they are told.

A shape is a promise to programs that we do not know. Within a version fields are only added; what must change otherwise
is told under a new type, beside the old one. No name, address or free text of a person stands in any of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID

from domain.money import Money
from domain.orders.lines import OrderLine
from domain.orders.messages import (
    CancelledBy,
    OrderCancelled,
    OrderCompleted,
    OrderEvent,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
)


@dataclass(frozen=True, kw_only=True)
class Item:
    """Pieces of one product at their net price."""

    product_id: UUID
    sku: str
    name: str
    quantity: int
    unit_price: Money
    tax_rate: Decimal


@dataclass(frozen=True, kw_only=True)
class OrderData:
    """What every event of an order tells. ``customer_id`` names an account, and nobody by name."""

    order_id: UUID
    order_no: str
    customer_id: UUID


@dataclass(frozen=True, kw_only=True)
class PlacedOrder(OrderData):
    """The order waits for its payment until ``expires_at``."""

    items: tuple[Item, ...]
    subtotal: Money
    tax: Money
    total: Money
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class PaidOrder(OrderData):
    """The money came."""

    amount: Money
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class ShippedOrder(OrderData):
    """The parcel is on its way."""

    carrier: str
    tracking_no: str


@dataclass(frozen=True, kw_only=True)
class CancelledOrder(OrderData):
    """The unpaid order is over; its pieces are free again."""

    by: CancelledBy
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class RefundedOrder(OrderData):
    """The money goes back; so do, where they had not left the house, the pieces."""

    amount: Money
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class ReturnedMoney(OrderData):
    """This money has gone back."""

    amount: Money


def public(event: OrderEvent) -> OrderData | None:
    """What is told of an event outside; None of one that is nobody's business there."""
    names: dict[str, Any] = {
        "order_id": event.order_id,
        "order_no": event.order_no,
        "customer_id": event.customer_id,
    }
    match event:
        case OrderPlaced():
            return _placed(event, names)
        case OrderPaid() | OrderRefunded() | OrderMoneyReturned():
            return _of_money(event, names)
        case OrderPaymentFailed() | OrderCompleted():
            return OrderData(**names)
        case OrderShipped(carrier=carrier, tracking_no=number):
            return ShippedOrder(carrier=carrier, tracking_no=number, **names)
        case OrderCancelled(by=by, lines=lines):
            return CancelledOrder(by=by, items=_items(lines), **names)
        case OrderOverpaid():
            return None
        case _:
            assert_never(event)


def _placed(event: OrderPlaced, names: dict[str, Any]) -> PlacedOrder:
    return PlacedOrder(
        items=_items(event.lines),
        subtotal=event.subtotal,
        tax=event.tax,
        total=event.total,
        expires_at=event.expires_at,
        **names,
    )


def _of_money(event: OrderPaid | OrderRefunded | OrderMoneyReturned, names: dict[str, Any]) -> OrderData:
    match event:
        case OrderPaid(amount=amount, lines=lines):
            return PaidOrder(amount=amount, items=_items(lines), **names)
        case OrderRefunded(amount=amount, lines=lines):
            return RefundedOrder(amount=amount, items=_items(lines), **names)
        case OrderMoneyReturned(amount=amount):
            return ReturnedMoney(amount=amount, **names)
        case _:
            assert_never(event)


def _items(lines: Sequence[OrderLine]) -> tuple[Item, ...]:
    return tuple(
        Item(
            product_id=line.product_id,
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            unit_price=line.unit_price,
            tax_rate=line.tax_rate,
        )
        for line in lines
    )
