"""The process manager of unpaid orders: one is reminded of its payment, and it ends when that does not come.

::

    placed ──┬─ remind_at ──▶ a reminder, unless its time is over by then
             └─ expires_at ─▶ ExpireOrder, which the order's own rules decide
    paid, cancelled ─▶ no timer runs any more
    money that comes after that ─▶ it is owed back
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never
from uuid import UUID

from domain.kernel.messages import Recorded
from domain.kernel.process_manager import Effect, ProcessManager, Transition
from domain.kernel.refusals import DoesNotExist
from domain.money import Money
from domain.orders import (
    ExpireOrder,
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
    OrderStatus,
    ends_the_wait,
)

REMIND_AT_LEAST: Final = timedelta(minutes=5)
"""Who has less time to pay than this is not reminded: the confirmation has only just come."""
REMIND_AT_MOST_BEFORE: Final = timedelta(days=1)


class Timer(StrEnum):
    """What an order may wait for."""

    REMIND = "remind"
    EXPIRE = "expire"


@dataclass(frozen=True, kw_only=True)
class OrderTime:
    """An order as far as time concerns it. ``position`` is that of its placing; ``remind_at`` is None once it is done.

    ``waits`` for a payment: only then do timers run.
    """

    order_id: UUID
    order_no: str
    customer_id: UUID
    total: Money
    position: int
    correlation: str | None
    expires_at: datetime
    remind_at: datetime | None
    waits: bool = True


@dataclass(frozen=True, kw_only=True)
class PaymentReminder(Effect):
    """The customer is to hear that the order still waits for its payment."""

    order: OrderTime


@dataclass(frozen=True, kw_only=True)
class RefundOwed(Effect):
    """Money that the shop may not keep. ``was`` is what the order was when that became clear."""

    order_id: UUID
    payment_id: str
    amount: Money
    position: int
    correlation: str | None
    was: OrderStatus


OrderEffect = PaymentReminder | RefundOwed
OrderTransition = Transition[OrderTime, OrderEffect]


def react(order: OrderTime | None, event: Recorded) -> OrderTransition:
    """What the event means for the order's timers, and for money that came with it."""
    fact = event.data
    if not isinstance(fact, OrderEvent):
        raise TypeError(f"{event.type} is no event of orders")
    if isinstance(fact, OrderPlaced):
        return Transition(state=_placed(fact, event))
    if order is None:
        raise DoesNotExist("there is no such order")
    if ends_the_wait(fact):
        order = replace(order, waits=False, remind_at=None)
    return Transition(state=order, effects=_owed(fact, event))


def on_timer(order: OrderTime, timer: str, now: datetime) -> OrderTransition:
    """What is to be done when a timer rings that still runs; perhaps long after its moment, if nobody was there."""
    if timer == Timer.EXPIRE:
        return Transition(state=order, command=ExpireOrder(now=now))
    reminded = replace(order, remind_at=None)
    return Transition(state=reminded, effects=[PaymentReminder(order=order)] if now < order.expires_at else [])


def timers(order: OrderTime) -> Mapping[str, datetime]:
    """The timers that run."""
    if not order.waits:
        return {}
    remind = {} if order.remind_at is None else {Timer.REMIND.value: order.remind_at}
    return {**remind, Timer.EXPIRE.value: order.expires_at}


def _placed(placed: OrderPlaced, event: Recorded) -> OrderTime:
    return OrderTime(
        order_id=placed.order_id,
        order_no=placed.order_no,
        customer_id=placed.customer_id,
        total=placed.total,
        position=event.position,
        correlation=event.metadata.get("correlation"),
        expires_at=placed.expires_at,
        remind_at=_remind_at(event.recorded_at, placed.expires_at),
    )


def _remind_at(placed_at: datetime, expires_at: datetime) -> datetime | None:
    """When two thirds of the time are over, but no more than a day before the end."""
    given = expires_at - placed_at
    return None if given < REMIND_AT_LEAST else expires_at - min(given / 3, REMIND_AT_MOST_BEFORE)


def _owed(fact: OrderEvent, event: Recorded) -> list[RefundOwed]:
    """The money that goes back because of the event."""
    match fact:
        case OrderOverpaid() | OrderRefunded():
            return _owing(fact, event)
        case OrderPaid() | OrderPaymentFailed() | OrderMoneyReturned():
            return []
        case OrderPlaced() | OrderShipped() | OrderCompleted() | OrderCancelled():
            return []
        case _:
            assert_never(fact)


def _owing(owed: OrderOverpaid | OrderRefunded, event: Recorded) -> list[RefundOwed]:
    """Where nothing came, nothing is owed."""
    if not owed.amount.amount:
        return []
    owing = RefundOwed(
        order_id=owed.order_id,
        payment_id=owed.payment_id,
        amount=owed.amount,
        position=event.position,
        correlation=event.metadata.get("correlation"),
        was=owed.was,
    )
    return [owing]


ORDER_TIME: Final = ProcessManager[OrderTime, OrderEffect](
    name="order_time", category="order", state=OrderTime, react=react, on_timer=on_timer, timers=timers
)
