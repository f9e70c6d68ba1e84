"""No event is forgotten: who has to know of one is named here, by what the event says, as soon as there is a new one.

Rules and documents name theirs by themselves: mypy asks `evolve` for every event, and a document folds all of its
contexts (`test_projections.py`).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

import pytest

from domain.accounts import (
    AccountActivated,
    AccountEmailVerificationRequested,
    AccountEmailVerified,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountRegistered,
    AccountUsernameChanged,
    ending,
)
from domain.kernel.messages import Event
from domain.orders import (
    LIFECYCLE,
    ORDERS,
    OrderEvent,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderRefunded,
    OrderStatus,
    is_paid,
)
from domain.orders.payment_deadline import ORDER_TIME
from domain.rooms import RoomInvited, RoomJoined, RoomMessagePosted, RoomOpened
from domain.webhooks import WebhookRegistered
from domain.workflows.checkout import stock_moves
from projections.daily_revenue import DAILY_REVENUE
from projections.order_summary import ORDER_SUMMARY
from projections.registry import PROJECTIONS
from projections.shop_counts import SHOP_COUNTS
from tests.golden.expected import EXPECTED
from tests.support.builders import order_placed
from tests.support.spec import Spec
from tests.unit.shop.test_projections import fold, record

EVENTS: Final[Mapping[str, Event]] = {name: event for (name, _), event in EXPECTED.items()}
OF_ORDERS: Final[list[OrderEvent]] = [
    replace(event, was=OrderStatus.PAID) if isinstance(event, OrderRefunded) else event
    for event in EVENTS.values()
    if isinstance(event, OrderEvent)
]
PLACED: Final = order_placed()
NO_REVENUE: Final[set[type[Event]]] = {OrderOverpaid, OrderMoneyReturned}
"""Money that no order needed is owed back, and goes back."""
ENDS_NO_ACCESS: Final[set[type[Event]]] = {
    AccountRegistered,
    AccountActivated,
    AccountEmailVerificationRequested,
    AccountEmailVerified,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountUsernameChanged,
}
NO_FIGURE: Final[set[type[Event]]] = {WebhookRegistered, RoomOpened, RoomInvited, RoomJoined, RoomMessagePosted}
"""The dashboard is the shop's: what people say to each other is none of its figures."""

of_each_order_event = pytest.mark.parametrize("event", OF_ORDERS, ids=lambda event: type(event).__name__)


def carries(event: Event, name: str) -> bool:
    return name in {field.name for field in fields(event)}


def leaves_pending(event: OrderEvent) -> bool:
    return type(event) in LIFECYCLE and LIFECYCLE[type(event)][0] is OrderStatus.PENDING


def after(event: OrderEvent, status: OrderStatus) -> OrderStatus:
    return LIFECYCLE[type(event)][1] if type(event) in LIFECYCLE else status


def lives() -> Mapping[OrderStatus, list[OrderEvent]]:
    """A life up to each status."""
    found: dict[OrderStatus, list[OrderEvent]] = {OrderStatus.PENDING: [PLACED]}
    for event in 2 * [event for event in OF_ORDERS if type(event) in LIFECYCLE]:
        before, status = LIFECYCLE[type(event)]
        before = event.was if isinstance(event, OrderRefunded) else before
        if before in found:
            found.setdefault(status, [*found[before], event])
    return found


def counted(*events: OrderEvent) -> Mapping[OrderStatus, int]:
    counts = fold(SHOP_COUNTS, *events)
    return {status: getattr(counts, status) for status in OrderStatus if getattr(counts, status)}


def test_the_lifecycle_leads_to_every_status() -> None:
    assert lives().keys() == set(OrderStatus)


@of_each_order_event
def test_rules_and_document_leave_an_order_in_the_status_that_the_lifecycle_says(event: OrderEvent) -> None:
    order, row = Spec(ORDERS).given(PLACED).state, fold(ORDER_SUMMARY, PLACED)
    assert order is not None
    for status in OrderStatus:
        evolved = ORDERS.evolve(replace(order, status=status), event)
        shown = ORDER_SUMMARY.project(replace(row, status=status), record(event, 2, 2))
        assert evolved is not None
        assert shown is not None
        assert evolved.status is shown.status is after(event, status)


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_is_counted_in_its_status_and_in_no_other(status: OrderStatus) -> None:
    assert counted(*lives()[status]) == {status: 1}


@pytest.mark.parametrize("was", [each for each in OrderStatus if is_paid(each)])
def test_a_refund_is_counted_from_every_status_after_the_payment(was: OrderStatus) -> None:
    (refund,) = [event for event in OF_ORDERS if isinstance(event, OrderRefunded)]
    assert counted(*lives()[was], replace(refund, was=was)) == {OrderStatus.REFUNDED: 1}


@of_each_order_event
def test_an_order_that_waits_no_more_has_no_timer_and_gives_its_share_back(event: OrderEvent) -> None:
    waiting = ORDER_TIME.react(None, record(PLACED, 1, 1)).state
    assert ORDER_TIME.react(waiting, record(event, 2, 2)).state.waits is not leaves_pending(event)
    assert any(each.released for each in ORDERS.allowances(event)) is leaves_pending(event)


@of_each_order_event
def test_an_event_that_tells_lines_moves_their_pieces(event: OrderEvent) -> None:
    assert bool(stock_moves(event)) is carries(event, "lines")


def test_money_that_moves_is_revenue_or_known_to_be_none() -> None:
    assert {type(event) for event in OF_ORDERS if carries(event, "amount")} == {*DAILY_REVENUE.handles, *NO_REVENUE}


def test_what_happens_to_an_account_ends_access_or_is_known_to_end_none() -> None:
    of_accounts = [event for name, event in EVENTS.items() if name.startswith("account.")]
    assert {type(event) for event in of_accounts if ending(2, event) is None} == ENDS_NO_ACCESS


def test_whatever_begins_is_counted_or_known_to_be_no_figure_of_the_shop() -> None:
    begins = {kind for each in PROJECTIONS.values() for kind in each.creates}
    assert begins - SHOP_COUNTS.handles == NO_FIGURE
