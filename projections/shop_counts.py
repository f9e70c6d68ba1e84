"""The read model of the shop's sums: how many accounts, products on sale, and orders in each status.

One row per shard: each shard's owner counts on its own, no row is written by two, and a reader adds up a handful.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from domain.accounts import AccountErased, AccountRegistered
from domain.catalogue import ProductAdded, ProductDiscontinued
from domain.messages import Event, Recorded
from domain.orders import (
    OrderCancelled,
    OrderCompleted,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
)
from projections.declaration import Column, Projection, amend

COUNTED: Final = frozenset(
    {
        AccountRegistered,
        AccountErased,
        ProductAdded,
        ProductDiscontinued,
        OrderPlaced,
        OrderPaid,
        OrderShipped,
        OrderCompleted,
        OrderCancelled,
        OrderRefunded,
    }
)


@dataclass(frozen=True, kw_only=True)
class ShopCounts:
    """What a shard holds. ``version`` counts the events that were counted."""

    accounts: int
    products: int
    pending: int
    paid: int
    shipped: int
    done: int
    cancelled: int
    refunded: int
    version: int


NONE: Final = ShopCounts(
    accounts=0, products=0, pending=0, paid=0, shipped=0, done=0, cancelled=0, refunded=0, version=0
)


def project(row: ShopCounts | None, event: Recorded) -> ShopCounts | None:
    """The counts after the event. They only add up, so the order of streams does not matter."""
    counts = row or NONE
    counts = amend(counts, version=counts.version + 1)
    match event.data:
        case AccountRegistered():
            return amend(counts, accounts=counts.accounts + 1)
        case AccountErased():
            return amend(counts, accounts=counts.accounts - 1)
        case ProductAdded():
            return amend(counts, products=counts.products + 1)
        case ProductDiscontinued():
            return amend(counts, products=counts.products - 1)
        case _:
            return _order_moved(counts, event.data)


def _order_moved(counts: ShopCounts, event: Event) -> ShopCounts:
    match event:
        case OrderPlaced():
            return amend(counts, pending=counts.pending + 1)
        case OrderPaid():
            return amend(counts, pending=counts.pending - 1, paid=counts.paid + 1)
        case OrderShipped():
            return amend(counts, paid=counts.paid - 1, shipped=counts.shipped + 1)
        case OrderCompleted():
            return amend(counts, shipped=counts.shipped - 1, done=counts.done + 1)
        case OrderCancelled():
            return amend(counts, pending=counts.pending - 1, cancelled=counts.cancelled + 1)
        case OrderRefunded(was=was):
            return _refunded(counts, was)
        case _:
            raise TypeError(f"{type(event).__name__} is not counted")


def _refunded(counts: ShopCounts, was: OrderStatus) -> ShopCounts:
    """An order can be refunded from any status after the payment, and its event says from which."""
    counts = amend(counts, refunded=counts.refunded + 1)
    match was:
        case OrderStatus.PAID:
            return amend(counts, paid=counts.paid - 1)
        case OrderStatus.SHIPPED:
            return amend(counts, shipped=counts.shipped - 1)
        case OrderStatus.DONE:
            return amend(counts, done=counts.done - 1)
        case _:
            raise ValueError(f"an order that is {was} has nothing to refund")


def shard_of_event(event: Recorded) -> str:
    """The key."""
    return str(event.shard)


SHOP_COUNTS: Final = Projection[ShopCounts](
    name="shop_counts",
    version=1,
    row=ShopCounts,
    begins=frozenset(),
    handles=COUNTED,
    key=shard_of_event,
    project=project,
    adds={kind: ("was",) if kind is OrderRefunded else () for kind in COUNTED},
    rest=0.1,
    columns=(
        Column("accounts", "bigint", lambda counts: counts.accounts),
        Column("products", "bigint", lambda counts: counts.products),
        *(Column(status.value, "bigint", attrgetter(status.value)) for status in OrderStatus),
    ),
)
