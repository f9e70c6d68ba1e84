"""The read model of what came in: per day and currency, the payments for orders and what went back of them.

Money counts on the day it moved: a refund lessens the day it was given, so that a day that is over never changes. Money
that no order needed is owed back, and is no revenue. A day has a row per shard; who reads it adds them up.
"""

from dataclasses import dataclass
from datetime import UTC, date
from typing import Final

from domain.kernel.messages import Recorded
from domain.money import Money
from domain.orders import OrderPaid, OrderRefunded
from infra.eventsourcing.projections.fold_table import FoldFunctions
from infra.eventsourcing.projections.projection import Column, Projection, amend, make


@dataclass(frozen=True, kw_only=True)
class DailyRevenue:
    """A day of a shard in one currency: ``day`` is one of UTC, ``version`` counts what was added up."""

    day: str
    currency: str
    orders: int
    paid: Money
    refunded: Money
    version: int


def key_of(event: Recorded) -> str:
    """Day, currency and shard."""
    return f"{_day(event)}.{_amount(event).currency}.{event.shard}"


def _blank(event: Recorded) -> DailyRevenue:
    currency = _amount(event).currency
    none = Money.zero(currency)
    return make(DailyRevenue, day=_day(event), currency=currency, orders=0, paid=none, refunded=none, version=0)


def _paid(day: DailyRevenue, payment: OrderPaid, _: Recorded) -> DailyRevenue:
    return amend(day, version=day.version + 1, orders=day.orders + 1, paid=day.paid + payment.amount)


def _refunded(day: DailyRevenue, refund: OrderRefunded, _: Recorded) -> DailyRevenue:
    return amend(day, version=day.version + 1, refunded=day.refunded + refund.amount)


FOLDS: Final = FoldFunctions[DailyRevenue](changes={OrderPaid: _paid, OrderRefunded: _refunded}, blank=_blank)


def _amount(event: Recorded) -> Money:
    moved = event.data
    if not isinstance(moved, OrderPaid | OrderRefunded):
        raise TypeError(f"{event.type} moves no money")
    return moved.amount


def _day(event: Recorded) -> str:
    return event.recorded_at.astimezone(UTC).date().isoformat()


DAILY_REVENUE: Final = Projection[DailyRevenue](
    name="daily_revenue",
    version=1,
    row=DailyRevenue,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=key_of,
    project=FOLDS,
    adds=dict.fromkeys(FOLDS.handles, ("amount",)),
    rest=0.1,
    columns=(
        Column("day", "date", lambda day: date.fromisoformat(day.day)),
        Column("currency", "text", lambda day: day.currency),
        Column("orders", "bigint", lambda day: day.orders),
        Column("paid", "numeric", lambda day: day.paid.amount),
        Column("refunded", "numeric", lambda day: day.refunded.amount),
    ),
    indexes=("(day DESC, currency)",),
)
