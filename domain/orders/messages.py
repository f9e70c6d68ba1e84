"""Commands, events and refusals of orders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from domain.kernel.messages import Command, Event
from domain.kernel.refusals import Refusal
from domain.money import Money
from domain.orders.lines import Address, OrderLine


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    PENDING = "pending"
    PAID = "paid"
    SHIPPED = "shipped"
    DONE = "done"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class CancelledBy(StrEnum):
    """Who ended an order: its customer, the staff, or the time it had."""

    CUSTOMER = "customer"
    STAFF = "staff"
    EXPIRY = "expiry"


class OrderNotOpen(Refusal):
    """Only an order that waits for its payment can be cancelled; a paid one can be refunded."""

    code = "order-not-open"


class TooManyUnpaidOrders(Refusal):
    """The customer has as many orders that wait for their payment as an account may have."""

    code = "too-many-unpaid-orders"


class TooManyUnpaidPieces(Refusal):
    """The customer's unpaid orders would hold more pieces than those of an account may."""

    code = "too-many-unpaid-pieces"


class OrderNotPaid(Refusal):
    """Only a paid order can be shipped, and only money that came can be refunded."""

    code = "order-not-paid"


class OrderNotShipped(Refusal):
    """Only a shipped order can be completed."""

    code = "order-not-shipped"


class MoneyNotOwed(Refusal):
    """Only money that the shop owes can have gone back."""

    code = "money-not-owed"


class PaymentMismatch(Refusal):
    """The payment is not the order's total."""

    code = "payment-mismatch"


@dataclass(frozen=True, kw_only=True)
class PlaceOrder(Command):
    """Order these lines. Unpaid at ``expires_at``, the order may be cancelled by :class:`ExpireOrder`."""

    order_id: UUID
    order_no: str
    customer_id: UUID
    lines: tuple[OrderLine, ...]
    expires_at: datetime
    shipping_address: Address | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class PayOrder(Command):
    """Money has come in."""

    payment_id: str
    amount: Money


@dataclass(frozen=True, kw_only=True)
class FailPayment(Command):
    """The provider could not collect the money."""

    payment_id: str


@dataclass(frozen=True, kw_only=True)
class ShipOrder(Command):
    """The parcel is with the carrier."""

    carrier: str
    tracking_no: str


@dataclass(frozen=True, kw_only=True)
class CompleteOrder(Command):
    """The parcel has arrived and all is well."""


@dataclass(frozen=True, kw_only=True)
class CancelOrder(Command):
    """Nobody wants the unpaid order any more."""

    by: CancelledBy
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExpireOrder(Command):
    """Cancel the order if it is unpaid and its time is over at ``now``; else nothing happens."""

    now: datetime


@dataclass(frozen=True, kw_only=True)
class RefundOrder(Command):
    """Give the customer the money back."""

    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReturnMoney(Command):
    """The provider has given the money of a payment back, under a reference of its own."""

    payment_id: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class OrderFact(Event):
    """What every event of an order tells, so that its readers need no other stream."""

    order_id: UUID
    order_no: str
    customer_id: UUID


@dataclass(frozen=True, kw_only=True)
class OrderPlaced(OrderFact):
    """The order waits for its payment until ``expires_at``. ``total`` is ``subtotal + tax``."""

    lines: tuple[OrderLine, ...]
    subtotal: Money
    tax: Money
    total: Money
    shipping_address: Address | None = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class OrderPaid(OrderFact):
    """The money came; ``lines`` are what was sold with it."""

    payment_id: str
    amount: Money
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, kw_only=True)
class OrderPaymentFailed(OrderFact):
    """An attempt to pay failed; the order still waits."""

    payment_id: str


@dataclass(frozen=True, kw_only=True)
class OrderOverpaid(OrderFact):
    """Money came that the order does not need, because it is paid or was cancelled: it is owed back."""

    payment_id: str
    amount: Money
    was: OrderStatus


@dataclass(frozen=True, kw_only=True)
class OrderShipped(OrderFact):
    """The parcel is on its way."""

    carrier: str
    tracking_no: str


@dataclass(frozen=True, kw_only=True)
class OrderCompleted(OrderFact):
    """The order is done."""


@dataclass(frozen=True, kw_only=True)
class OrderCancelled(OrderFact):
    """The unpaid order is over; the pieces of ``lines`` are free again."""

    by: CancelledBy
    reason: str | None
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, kw_only=True)
class OrderRefunded(OrderFact):
    """The money of ``payment_id`` goes back. ``was`` tells whether the pieces had left the house."""

    payment_id: str
    amount: Money
    reason: str | None
    was: OrderStatus
    lines: tuple[OrderLine, ...]


@dataclass(frozen=True, kw_only=True)
class OrderMoneyReturned(OrderFact):
    """The money of ``payment_id`` has gone back. ``reference`` is what the provider calls that."""

    payment_id: str
    amount: Money
    reference: str


OrderCommand: TypeAlias = (
    PlaceOrder
    | PayOrder
    | FailPayment
    | ShipOrder
    | CompleteOrder
    | CancelOrder
    | ExpireOrder
    | RefundOrder
    | ReturnMoney
)
OrderEvent: TypeAlias = (
    OrderPlaced
    | OrderPaid
    | OrderPaymentFailed
    | OrderOverpaid
    | OrderShipped
    | OrderCompleted
    | OrderCancelled
    | OrderRefunded
    | OrderMoneyReturned
)

LIFECYCLE: Final[Mapping[type[OrderEvent], tuple[OrderStatus | None, OrderStatus]]] = {
    OrderPlaced: (None, OrderStatus.PENDING),
    OrderPaid: (OrderStatus.PENDING, OrderStatus.PAID),
    OrderShipped: (OrderStatus.PAID, OrderStatus.SHIPPED),
    OrderCompleted: (OrderStatus.SHIPPED, OrderStatus.DONE),
    OrderCancelled: (OrderStatus.PENDING, OrderStatus.CANCELLED),
    OrderRefunded: (None, OrderStatus.REFUNDED),
}
"""From which status to which an event leads. A refund may come from several: its event says from which.

Events that do not stand here leave the order in its status.
"""


def ends_the_wait(event: OrderEvent) -> bool:
    """Whether the order waits for its payment no more."""
    return type(event) in LIFECYCLE and LIFECYCLE[type(event)][0] is OrderStatus.PENDING


def is_paid(status: OrderStatus) -> bool:
    """Whether the shop has the money of such an order."""
    match status:
        case OrderStatus.PAID | OrderStatus.SHIPPED | OrderStatus.DONE:
            return True
        case OrderStatus.PENDING | OrderStatus.CANCELLED | OrderStatus.REFUNDED:
            return False
        case _:
            assert_never(status)


def has_gone_out(status: OrderStatus) -> bool:
    """Whether the pieces of such an order have left the house."""
    match status:
        case OrderStatus.SHIPPED | OrderStatus.DONE:
            return True
        case OrderStatus.PENDING | OrderStatus.PAID | OrderStatus.CANCELLED | OrderStatus.REFUNDED:
            return False
        case _:
            assert_never(status)
