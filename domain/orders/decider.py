"""The decider of orders: the state, and the rules that lead from one event to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypedDict, assert_never
from uuid import UUID

from domain.kernel.decider import Decider
from domain.kernel.refusals import AlreadyExists, DoesNotExist
from domain.money import Money, price
from domain.orders.claims import allowances, claims
from domain.orders.lines import LONGEST_TEXT, OrderLine, checked_address, checked_lines, totals
from domain.orders.messages import (
    LIFECYCLE,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    ExpireOrder,
    FailPayment,
    MoneyNotOwed,
    OrderCancelled,
    OrderCommand,
    OrderCompleted,
    OrderEvent,
    OrderMoneyReturned,
    OrderNotOpen,
    OrderNotPaid,
    OrderNotShipped,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
    PaymentMismatch,
    PayOrder,
    PlaceOrder,
    RefundOrder,
    ReturnMoney,
    ShipOrder,
)
from domain.values import foreign_id, instant, line

LONGEST_REASON: Final = 500
LONGEST_PAYMENT_ID: Final = 255
LONGEST_REFERENCE: Final = 255


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order as its events leave it.

    ``payment_id`` is the payment that paid it; ``payments`` are all that came, ``failures`` those that did not.
    ``owed`` is what has to go back, by payment; ``returned`` are the payments whose money has gone back.
    """

    order_id: UUID
    order_no: str
    customer_id: UUID
    lines: tuple[OrderLine, ...]
    total: Money
    expires_at: datetime
    status: OrderStatus = OrderStatus.PENDING
    payment_id: str | None = None
    payments: frozenset[str] = frozenset()
    failures: frozenset[str] = frozenset()
    owed: Mapping[str, Money] = field(default_factory=dict)
    returned: frozenset[str] = frozenset()
    carrier: str | None = None
    tracking_no: str | None = None


class _Names(TypedDict):
    order_id: UUID
    order_no: str
    customer_id: UUID


def decide(command: OrderCommand, order: Order | None) -> Sequence[OrderEvent]:
    """What the command changes. A wish that is fulfilled already changes nothing."""
    if isinstance(command, PlaceOrder):
        return _place(command, order)
    known = _known(order)
    match command:
        case PayOrder() | FailPayment() | RefundOrder() | ReturnMoney():
            return _settle(command, known)
        case ShipOrder():
            return _ship(command, known)
        case CompleteOrder():
            return _complete(known)
        case CancelOrder() | ExpireOrder():
            return _end(command, known)
        case _:
            assert_never(command)


def evolve(order: Order | None, event: OrderEvent) -> Order:
    """The order after the event."""
    if isinstance(event, OrderPlaced):
        return _placed(event)
    known = _known(order)
    match event:
        case OrderPaid() | OrderOverpaid() | OrderPaymentFailed():
            return _after_payment(known, event)
        case OrderRefunded() | OrderMoneyReturned():
            return _after_refund(known, event)
        case OrderShipped(carrier=carrier, tracking_no=number):
            return replace(known, status=OrderStatus.SHIPPED, carrier=carrier, tracking_no=number)
        case OrderCompleted() | OrderCancelled():
            return replace(known, status=LIFECYCLE[type(event)][1])
        case _:
            assert_never(event)


def _place(command: PlaceOrder, order: Order | None) -> Sequence[OrderEvent]:
    if order is not None:
        raise AlreadyExists("the order is placed already")
    lines = checked_lines(command.lines)
    sums = totals(lines)
    names: _Names = {"order_id": command.order_id, "order_no": command.order_no, "customer_id": command.customer_id}
    placed = OrderPlaced(
        lines=lines,
        subtotal=sums.subtotal,
        tax=sums.tax,
        total=sums.total,
        shipping_address=checked_address(command.shipping_address),
        expires_at=instant(command.expires_at, "/expires_at"),
        **names,
    )
    if sums.total.amount:
        return [placed]
    # Nobody would ever pay it, and it would be cancelled for that.
    return [placed, OrderPaid(payment_id=f"nothing:{command.order_no}", amount=sums.total, lines=lines, **names)]


def _settle(command: PayOrder | FailPayment | RefundOrder | ReturnMoney, order: Order) -> Sequence[OrderEvent]:
    match command:
        case PayOrder():
            return _pay(command, order)
        case FailPayment():
            return _fail_payment(command, order)
        case RefundOrder():
            return _refund(command, order)
        case ReturnMoney():
            return _return_money(command, order)
        case _:
            assert_never(command)


def _pay(command: PayOrder, order: Order) -> Sequence[OrderEvent]:
    payment_id = foreign_id(command.payment_id, "/payment_id", longest=LONGEST_PAYMENT_ID)
    amount = price(command.amount, "/amount")
    if payment_id in order.payments:
        return _paid_again(payment_id, amount, order)
    if order.status is not OrderStatus.PENDING:
        return [OrderOverpaid(payment_id=payment_id, amount=amount, was=order.status, **_names(order))]
    if amount != order.total:
        raise PaymentMismatch("the payment is not the order's total", pointer="/amount")
    return [OrderPaid(payment_id=payment_id, amount=amount, lines=order.lines, **_names(order))]


def _paid_again(payment_id: str, amount: Money, order: Order) -> Sequence[OrderEvent]:
    """One payment has one amount: told again it changes nothing, told otherwise somebody is mistaken."""
    known = order.total if payment_id == order.payment_id else order.owed.get(payment_id, amount)
    if amount != known:
        raise PaymentMismatch("the payment came with another amount before", pointer="/amount")
    return []


def _fail_payment(command: FailPayment, order: Order) -> Sequence[OrderEvent]:
    payment_id = foreign_id(command.payment_id, "/payment_id", longest=LONGEST_PAYMENT_ID)
    if order.status is not OrderStatus.PENDING or payment_id in order.failures:
        return []
    return [OrderPaymentFailed(payment_id=payment_id, **_names(order))]


def _ship(command: ShipOrder, order: Order) -> Sequence[OrderEvent]:
    carrier = line(command.carrier, "/carrier", longest=LONGEST_TEXT)
    number = line(command.tracking_no, "/tracking_no", longest=LONGEST_TEXT)
    if order.status is OrderStatus.SHIPPED and (carrier, number) == (order.carrier, order.tracking_no):
        return []
    if order.status is not OrderStatus.PAID:
        raise OrderNotPaid(f"the order is {order.status}")
    return [OrderShipped(carrier=carrier, tracking_no=number, **_names(order))]


def _complete(order: Order) -> Sequence[OrderEvent]:
    if order.status is OrderStatus.DONE:
        return []
    if order.status is not OrderStatus.SHIPPED:
        raise OrderNotShipped(f"the order is {order.status}")
    return [OrderCompleted(**_names(order))]


def _end(command: CancelOrder | ExpireOrder, order: Order) -> Sequence[OrderEvent]:
    """The customer, the staff and the clock may end an order at the same moment: the first one does."""
    if isinstance(command, ExpireOrder):
        due = order.status is OrderStatus.PENDING and command.now >= order.expires_at
        return [_cancelled(order, CancelledBy.EXPIRY, None)] if due else []
    if order.status is OrderStatus.CANCELLED:
        return []
    if order.status is not OrderStatus.PENDING:
        raise OrderNotOpen(f"the order is {order.status}")
    return [_cancelled(order, command.by, _reason(command.reason))]


def _refund(command: RefundOrder, order: Order) -> Sequence[OrderEvent]:
    if order.status is OrderStatus.REFUNDED:
        return []
    if order.payment_id is None:
        raise OrderNotPaid(f"the order is {order.status}")
    return [
        OrderRefunded(
            payment_id=order.payment_id,
            amount=order.total,
            reason=_reason(command.reason),
            was=order.status,
            lines=order.lines,
            **_names(order),
        )
    ]


def _return_money(command: ReturnMoney, order: Order) -> Sequence[OrderEvent]:
    reference = foreign_id(command.reference, "/reference", longest=LONGEST_REFERENCE)
    if command.payment_id in order.returned:
        return []
    if (amount := order.owed.get(command.payment_id)) is None:
        raise MoneyNotOwed("the money of this payment is not owed", pointer="/payment_id")
    return [OrderMoneyReturned(payment_id=command.payment_id, amount=amount, reference=reference, **_names(order))]


def _cancelled(order: Order, by: CancelledBy, reason: str | None) -> OrderCancelled:
    return OrderCancelled(by=by, reason=reason, lines=order.lines, **_names(order))


def _placed(event: OrderPlaced) -> Order:
    return Order(
        order_id=event.order_id,
        order_no=event.order_no,
        customer_id=event.customer_id,
        lines=event.lines,
        total=event.total,
        expires_at=event.expires_at,
    )


def _after_payment(order: Order, event: OrderPaid | OrderOverpaid | OrderPaymentFailed) -> Order:
    payment_id = event.payment_id
    payments = order.payments | {payment_id}
    match event:
        case OrderPaymentFailed():
            return replace(order, failures=order.failures | {payment_id})
        case OrderOverpaid():
            return replace(order, payments=payments, owed={**order.owed, payment_id: event.amount})
        case OrderPaid():
            return replace(order, status=OrderStatus.PAID, payment_id=payment_id, payments=payments)
        case _:
            assert_never(event)


def _after_refund(order: Order, event: OrderRefunded | OrderMoneyReturned) -> Order:
    match event:
        case OrderRefunded():
            return replace(order, status=OrderStatus.REFUNDED, owed={**order.owed, event.payment_id: event.amount})
        case OrderMoneyReturned():
            owed = {payment: amount for payment, amount in order.owed.items() if payment != event.payment_id}
            return replace(order, owed=owed, returned=order.returned | {event.payment_id})
        case _:
            assert_never(event)


def _names(order: Order) -> _Names:
    return {"order_id": order.order_id, "order_no": order.order_no, "customer_id": order.customer_id}


def _reason(reason: str | None) -> str | None:
    return None if reason is None else line(reason, "/reason", longest=LONGEST_REASON, blank=True)


def _known(order: Order | None) -> Order:
    if order is None:
        raise DoesNotExist("there is no such order")
    return order


ORDERS: Final = Decider[OrderCommand, OrderEvent, Order | None](
    category="order", initial=None, decide=decide, evolve=evolve, claims=claims, allowances=allowances
)
