"""What an order's events take for it, or give back: unique keys, and shares of what an account may have at once."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from domain.kernel.decider import Allowance, Claim
from domain.orders.messages import (
    OrderEvent,
    OrderOverpaid,
    OrderPaid,
    OrderPlaced,
    TooManyUnpaidOrders,
    TooManyUnpaidPieces,
    ends_the_wait,
)

UNPAID: Final = "unpaid_order"


def claims(_order: object, event: OrderEvent) -> Sequence[Claim]:
    """A number belongs to one order, and a payment pays one order."""
    if isinstance(event, OrderPlaced):
        return (Claim(scope="order_no", key=event.order_no),)
    if isinstance(event, OrderPaid | OrderOverpaid):
        return (Claim(scope="payment", key=event.payment_id, pointer="/payment_id"),)
    return ()


def allowances(event: OrderEvent) -> Sequence[Allowance]:
    """An unpaid order holds pieces that nobody has paid for: an account may have few of these, and of those."""
    if isinstance(event, OrderPlaced):
        return (_unpaid(event.customer_id, sum(line.quantity for line in event.lines), released=False),)
    return (_unpaid(event.customer_id, 0, released=True),) if ends_the_wait(event) else ()


def _unpaid(customer_id: UUID, pieces: int, *, released: bool) -> Allowance:
    return Allowance(
        scope=UNPAID,
        owner=customer_id,
        weight=pieces,
        released=released,
        too_many=TooManyUnpaidOrders,
        too_much=TooManyUnpaidPieces,
    )
