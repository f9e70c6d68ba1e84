"""An order in time, pure: which timers run in which state, and what comes of them when they ring."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain.kernel.messages import Event, Recorded
from domain.kernel.refusals import DoesNotExist
from domain.orders import ExpireOrder, OrderEvent, OrderOverpaid, OrderPaymentFailed, OrderStatus
from domain.orders.payment_deadline import (
    ORDER_TIME,
    REMIND_AT_LEAST,
    REMIND_AT_MOST_BEFORE,
    OrderTime,
    PaymentReminder,
    RefundOwed,
    Timer,
    on_timer,
    react,
    timers,
)
from domain.registry import REGISTRY
from infra.eventsourcing.codec import dumps
from infra.eventsourcing.process_managers.state import Row, kept, load, turned
from infra.eventsourcing.process_managers.timer_store import Held
from tests.support.builders import (
    ACCOUNT_ID,
    ORDER_ID,
    ORDER_NO,
    euros,
    order_cancelled,
    order_completed,
    order_money_returned,
    order_paid,
    order_placed,
    order_refunded,
    order_shipped,
)

PLACED_AT = datetime(2096, 11, 22, 12, 0, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
FAILED = OrderPaymentFailed(order_id=ORDER_ID, order_no=ORDER_NO, customer_id=ACCOUNT_ID, payment_id="pay-0")


def overpaid(was: OrderStatus = OrderStatus.CANCELLED) -> OrderOverpaid:
    return OrderOverpaid(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        payment_id="pay-9",
        amount=euros("47.36"),
        was=was,
    )


def recorded(event: Event, version: int = 1, stream_id: UUID = ORDER_ID) -> Recorded:
    return Recorded(
        position=version + 40,
        stream_id=stream_id,
        version=version,
        category="order",
        shard=0,
        type=REGISTRY.names[type(event)],
        schema_version=1,
        data=event,
        metadata={"correlation": "req-7"},
        recorded_at=PLACED_AT,
    )


def after(*events: OrderEvent) -> OrderTime:
    order: OrderTime | None = None
    for version, event in enumerate(events, 1):
        order = react(order, recorded(event, version)).state
    assert order is not None
    return order


def placed(given_time: timedelta = HALF_HOUR) -> OrderTime:
    return after(order_placed(expires_at=PLACED_AT + given_time))


def test_a_placed_order_waits_for_its_reminder_and_its_end() -> None:
    assert timers(placed()) == {
        "remind": PLACED_AT + timedelta(minutes=20),
        "expire": PLACED_AT + HALF_HOUR,
    }


@given(some.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=30)))
def test_a_reminder_comes_between_the_placing_and_the_end_or_not_at_all(given_time: timedelta) -> None:
    running = timers(placed(given_time))
    assert running["expire"] == PLACED_AT + given_time
    if given_time < REMIND_AT_LEAST:
        assert "remind" not in running
    else:
        assert PLACED_AT < running["remind"] < running["expire"]
        assert running["expire"] - running["remind"] <= REMIND_AT_MOST_BEFORE


@pytest.mark.parametrize("end", [order_paid(), order_cancelled()])
def test_a_paid_or_cancelled_order_waits_for_nothing(end: OrderEvent) -> None:
    assert timers(after(order_placed(), end)) == {}


def test_no_later_event_starts_a_timer_again() -> None:
    paid = (order_placed(), order_paid())
    for later in (FAILED, overpaid(), order_shipped(), order_completed(), order_refunded(), order_money_returned()):
        assert timers(after(*paid, later)) == {}


def test_a_failed_payment_leaves_the_timers_as_they_are() -> None:
    assert timers(after(order_placed(), FAILED)) == timers(after(order_placed()))


def test_an_event_of_an_order_that_was_never_placed_is_refused() -> None:
    with pytest.raises(DoesNotExist):
        react(None, recorded(order_paid()))


def test_at_its_end_an_order_is_to_be_cancelled_and_the_timer_runs_until_it_is() -> None:
    now = PLACED_AT + HALF_HOUR
    turn = on_timer(placed(), Timer.EXPIRE, now)
    assert turn.command == ExpireOrder(now=now)
    assert Timer.EXPIRE in timers(turn.state)


def test_a_reminder_is_sent_once_and_the_end_still_comes() -> None:
    turn = on_timer(placed(), Timer.REMIND, PLACED_AT + timedelta(minutes=20))
    assert turn.effects == [PaymentReminder(order=placed())]
    assert turn.command is None
    assert set(timers(turn.state)) == {Timer.EXPIRE}


def test_nobody_is_reminded_of_an_order_whose_time_is_over() -> None:
    for late in (timedelta(), timedelta(days=400)):
        turn = on_timer(placed(), Timer.REMIND, PLACED_AT + HALF_HOUR + late)
        assert turn.effects == []
        assert set(timers(turn.state)) == {Timer.EXPIRE}


def test_money_that_comes_too_late_is_owed_back() -> None:
    order = after(order_placed(), order_cancelled())
    turn = react(order, recorded(overpaid(), 3))
    owed = RefundOwed(
        order_id=ORDER_ID,
        payment_id="pay-9",
        amount=euros("47.36"),
        position=43,
        correlation="req-7",
        was=OrderStatus.CANCELLED,
    )
    assert turn.effects == [owed]
    assert turn.state == order


@pytest.mark.parametrize(
    "event", [replace(overpaid(), amount=euros("0.00")), replace(order_refunded(), amount=euros("0.00"))]
)
def test_of_nothing_nothing_is_owed_back(event: OrderEvent) -> None:
    assert react(after(order_placed(), order_paid()), recorded(event, 3)).effects == []


def test_a_refund_is_owed_back_too() -> None:
    turn = react(after(order_placed(), order_paid()), recorded(order_refunded(), 3))
    assert [(effect.payment_id, effect.was) for effect in turn.effects if isinstance(effect, RefundOwed)] == [
        ("pay-1", OrderStatus.PAID)
    ]


def test_a_row_that_is_written_and_read_again_is_the_same() -> None:
    for order in (placed(), after(order_placed(), order_paid()), replace(placed(), correlation=None)):
        row = Row(version=3, state=order)
        written = kept(ORDER_TIME, ORDER_ID, row)
        assert load(ORDER_TIME, Held(written.version, written.state)) == row
        assert written.state == dumps(order)


def test_an_event_that_was_seen_changes_nothing_and_is_noted_once() -> None:
    effects: list[object] = []
    row = Row(version=2, state=after(order_placed(), order_cancelled()))
    row = turned(ORDER_TIME, row, recorded(overpaid(), 3), effects)
    again = turned(ORDER_TIME, row, recorded(overpaid(), 3), effects)
    assert (again, len(effects)) == (row, 1)
    assert turned(ORDER_TIME, row, recorded(order_placed(), 1), effects) == row
