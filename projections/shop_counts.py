"""The read model of the shop's sums: how many accounts, products on sale, and orders in each status.

One row per shard: each shard's owner counts on its own, no row is written by two, and a reader adds up a handful.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from domain.accounts import AccountErased, AccountRegistered
from domain.catalogue import ProductAdded, ProductDiscontinued
from domain.kernel.messages import Event, Recorded
from domain.orders import (
    OrderCancelled,
    OrderCompleted,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
)
from infra.eventsourcing.projections.projection import Column, Projection, amend

MOVES: Final[Mapping[type[Event], Mapping[str, int]]] = {
    AccountRegistered: {"accounts": 1},
    AccountErased: {"accounts": -1},
    ProductAdded: {"products": 1},
    ProductDiscontinued: {"products": -1},
    OrderPlaced: {"pending": 1},
    OrderPaid: {"pending": -1, "paid": 1},
    OrderShipped: {"paid": -1, "shipped": 1},
    OrderCompleted: {"shipped": -1, "done": 1},
    OrderCancelled: {"pending": -1, "cancelled": 1},
    OrderRefunded: {"refunded": 1},
}
"""What an event adds to which count. A refunded order is also one less of what it was."""
REFUNDABLE: Final = frozenset({OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.DONE})


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
    counts: Any = row or NONE
    moves = MOVES[type(event.data)]
    if isinstance(event.data, OrderRefunded):
        moves = {**moves, _before_refund(event.data.was): -1}
    moved: ShopCounts = amend(
        counts, version=counts.version + 1, **{name: getattr(counts, name) + more for name, more in moves.items()}
    )
    return moved


def _before_refund(was: OrderStatus) -> str:
    """An order can be refunded from any status after the payment, and its event says from which."""
    if was not in REFUNDABLE:
        raise ValueError(f"an order that is {was} has nothing to refund")
    return was.value


def shard_of_event(event: Recorded) -> str:
    """The key."""
    return str(event.shard)


SHOP_COUNTS: Final = Projection[ShopCounts](
    name="shop_counts",
    version=1,
    row=ShopCounts,
    begins=frozenset(),
    handles=frozenset(MOVES),
    key=shard_of_event,
    project=project,
    adds={kind: ("was",) if kind is OrderRefunded else () for kind in MOVES},
    rest=0.1,
    columns=(
        Column("accounts", "bigint", lambda counts: counts.accounts),
        Column("products", "bigint", lambda counts: counts.products),
        *(Column(status.value, "bigint", attrgetter(status.value)) for status in OrderStatus),
    ),
)
