"""The read model of the shop's sums: how many accounts, products on sale, and orders in each status.

One row per shard: each shard's owner counts on its own, no row is written by two, and a reader adds up a handful.
"""

from collections.abc import Mapping
from dataclasses import make_dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final

from domain.accounts import AccountErased, AccountRegistered
from domain.catalogue import ProductAdded, ProductDiscontinued
from domain.kernel.messages import Event, Recorded
from domain.orders import LIFECYCLE, OrderRefunded, OrderStatus, is_paid
from infra.eventsourcing.projections.fold_table import FoldFunctions
from infra.eventsourcing.projections.projection import Column, Projection, Row, amend

ShopCounts: Final[type[Row]] = make_dataclass(
    "ShopCounts",
    [(name, int, 0) for name in ("accounts", "products", *[status.value for status in OrderStatus], "version")],
    frozen=True,
    kw_only=True,
)
"""What a shard holds: the orders by their status, each a field. ``version`` counts the events that were counted."""

MOVES: Final[Mapping[type[Event], Mapping[str, int]]] = {
    AccountRegistered: {"accounts": 1},
    AccountErased: {"accounts": -1},
    ProductAdded: {"products": 1},
    ProductDiscontinued: {"products": -1},
    **{kind: {after: 1} if before is None else {before: -1, after: 1} for kind, (before, after) in LIFECYCLE.items()},
}
"""What an event adds to which count. A refunded order is also one less of what it was."""


def _moved(moves: Mapping[str, int], counts: Any, _said: Event, _event: Recorded) -> Row:
    """The counts after an event. They only add up, so the order of streams does not matter."""
    # A row that was stored before there was such a status has no field of that name yet: one is made, of plain text.
    added = {str(name): getattr(counts, name) + more for name, more in moves.items()}
    moved: Row = amend(counts, version=counts.version + 1, **added)
    return moved


def _refunded(counts: Row, refund: OrderRefunded, event: Recorded) -> Row:
    """An order can be refunded from any status after the payment, and its event says from which."""
    if not is_paid(refund.was):
        raise ValueError(f"an order that is {refund.was} has nothing to refund")
    return _moved({**MOVES[OrderRefunded], refund.was: -1}, counts, refund, event)


FOLDS: Final = FoldFunctions[Row](
    changes={**{kind: partial(_moved, moves) for kind, moves in MOVES.items()}, OrderRefunded: _refunded},
    blank=lambda _: ShopCounts(),
)


def shard_of_event(event: Recorded) -> str:
    """The key."""
    return str(event.shard)


SHOP_COUNTS: Final = Projection[Row](
    name="shop_counts",
    version=1,
    row=ShopCounts,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=shard_of_event,
    project=FOLDS,
    adds={kind: ("was",) if kind is OrderRefunded else () for kind in MOVES},
    rest=0.1,
    # A table has the columns that it was laid down with. What has come since is counted in the document alone, which is
    # what readers add up, so that a new status needs no new table.
    columns=tuple(
        Column(name, "bigint", attrgetter(name))
        for name in ("accounts", "products", "pending", "paid", "shipped", "done", "cancelled", "refunded")
    ),
)
