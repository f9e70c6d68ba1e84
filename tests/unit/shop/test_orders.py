"""How an order lives, what its lines add up to, and what it asks of the stock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.kernel.decider import Claim
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue, Refusal
from domain.money import InvalidAmount, Money
from domain.orders import (
    MOST_LINES,
    ORDERS,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    DuplicateItem,
    ExpireOrder,
    FailPayment,
    MixedCurrencies,
    MoneyNotOwed,
    Order,
    OrderCommand,
    OrderEvent,
    OrderNotOpen,
    OrderNotPaid,
    OrderNotShipped,
    OrderOverpaid,
    OrderPaymentFailed,
    OrderStatus,
    PaymentMismatch,
    RefundOrder,
    ReturnMoney,
    order_number,
    totals,
)
from tests.support.builders import (
    ACCOUNT_ID,
    EXPIRES_AT,
    ORDER_ID,
    ORDER_NO,
    OTHER_ORDER_ID,
    OTHER_PRODUCT_ID,
    address,
    euros,
    order_cancelled,
    order_completed,
    order_line,
    order_money_returned,
    order_paid,
    order_placed,
    order_refunded,
    order_shipped,
    pay_order,
    place_order,
    ship_order,
)
from tests.support.spec import Spec

orders = Spec(ORDERS)
PLACED, PAID, SHIPPED, DONE = order_placed(), order_paid(), order_shipped(), order_completed()
CANCELLED, REFUNDED, RETURNED = order_cancelled(), order_refunded(), order_money_returned()
CANCEL, REFUND = CancelOrder(by=CancelledBy.CUSTOMER), RefundOrder()
RETURN = ReturnMoney(payment_id="pay-1", reference="re_1")


def overpaid(was: OrderStatus, **changes: Any) -> OrderOverpaid:
    event = OrderOverpaid(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        payment_id="pay-2",
        amount=PLACED.total,
        was=was,
    )
    return replace(event, **changes)


def test_placing_tells_the_lines_and_what_they_add_up_to() -> None:
    orders.when(place_order()).then(PLACED)
    assert (PLACED.subtotal, PLACED.tax, PLACED.total) == (euros("39.80"), euros("7.56"), euros("47.36"))


def test_blanks_around_the_lines_of_an_address_and_of_a_parcel_are_dropped() -> None:
    orders.when(place_order(shipping_address=address(name=" Ada L.\u00a0", city="\tJena "))).then(PLACED)
    orders.given(PLACED, PAID).when(ship_order(carrier=" DHL ", tracking_no="JD0001\n")).then(SHIPPED)


def test_an_order_of_nothing_to_pay_is_paid_at_once() -> None:
    free = (order_line(unit_price=euros("0.00")),)
    paid = order_paid(lines=free, amount=euros("0.00"), payment_id=f"nothing:{ORDER_NO}")
    orders.when(place_order(lines=free)).then(order_placed(lines=free), paid)


def test_an_order_is_placed_once() -> None:
    orders.given(PLACED).when(place_order()).then_refused(AlreadyExists)


def test_an_order_number_belongs_to_one_order() -> None:
    orders.when(place_order()).then_claims(Claim(scope="order_no", key=ORDER_NO))


def test_the_whole_way_of_an_order() -> None:
    orders.given(PLACED).when(pay_order()).then(PAID)
    orders.given(PLACED, PAID).when(ship_order()).then(SHIPPED)
    orders.given(PLACED, PAID, SHIPPED).when(CompleteOrder()).then(DONE)


def test_the_exact_total_is_needed() -> None:
    for amount in ("47.35", "47.37"):
        orders.given(PLACED).when(pay_order(amount=euros(amount))).then_refused(PaymentMismatch, pointer="/amount")
    dollars = pay_order(amount=Money.parse("47.36", "USD"))
    orders.given(PLACED).when(dollars).then_refused(PaymentMismatch)


def test_the_same_payment_twice_is_one_event() -> None:
    for history in ([PAID], [PAID, SHIPPED], [PAID, SHIPPED, DONE], [PAID, REFUNDED]):
        orders.given(PLACED, *history).when(pay_order()).then_nothing()


@pytest.mark.parametrize("other", [euros("47.35"), euros("0.01"), Money.parse("47.36", "USD")])
def test_a_payment_that_was_told_of_has_no_other_amount(other: Money) -> None:
    for history in ([PAID], [PAID, SHIPPED], [PAID, SHIPPED, DONE], [PAID, REFUNDED], [PAID, REFUNDED, RETURNED]):
        orders.given(PLACED, *history).when(pay_order(amount=other)).then_refused(PaymentMismatch, pointer="/amount")
    again = pay_order(payment_id="pay-2", amount=other)
    orders.given(PLACED, PAID, overpaid(OrderStatus.PAID)).when(again).then_refused(PaymentMismatch)


def test_a_second_payment_is_owed_back() -> None:
    orders.given(PLACED, PAID).when(pay_order(payment_id="pay-2")).then(overpaid(OrderStatus.PAID))


def test_a_late_payment_of_a_cancelled_order_is_recorded_once() -> None:
    late, owed = pay_order(payment_id="pay-2"), overpaid(OrderStatus.CANCELLED)
    orders.given(PLACED, CANCELLED).when(late).then(owed)
    orders.given(PLACED, CANCELLED, owed).when(late).then_nothing()


def test_a_payment_that_is_no_amount_of_its_currency_is_refused() -> None:
    odd = pay_order(payment_id="pay-2", amount=Money(amount=Decimal("1.001"), currency="EUR"))
    orders.given(PLACED, CANCELLED).when(odd).then_refused(InvalidAmount, pointer="/amount/amount")


def test_money_owed_back_leaves_the_order_as_it_is() -> None:
    state = orders.given(PLACED, PAID, overpaid(OrderStatus.PAID)).state
    assert state is not None
    assert (state.status, state.payment_id) == (OrderStatus.PAID, "pay-1")


def test_a_payment_belongs_to_one_order() -> None:
    claim = Claim(scope="payment", key="pay-1", pointer="/payment_id")
    orders.given(PLACED).when(pay_order()).then_claims(claim)
    orders.given(PLACED, CANCELLED).when(pay_order()).then_claims(claim)


def test_a_failed_payment_is_recorded_once_and_the_order_still_waits() -> None:
    failed = OrderPaymentFailed(order_id=ORDER_ID, order_no=ORDER_NO, customer_id=ACCOUNT_ID, payment_id="pay-1")
    orders.given(PLACED).when(FailPayment(payment_id="pay-1")).then(failed)
    orders.given(PLACED, failed).when(FailPayment(payment_id="pay-1")).then_nothing()
    orders.given(PLACED, failed).when(pay_order()).then(PAID)


def test_a_failure_that_comes_too_late_changes_nothing() -> None:
    orders.given(PLACED, PAID).when(FailPayment(payment_id="pay-9")).then_nothing()
    orders.given(PLACED, CANCELLED).when(FailPayment(payment_id="pay-9")).then_nothing()


def test_only_a_paid_order_is_shipped() -> None:
    for history in ([], [CANCELLED], [PAID, REFUNDED], [PAID, SHIPPED, DONE]):
        orders.given(PLACED, *history).when(ship_order()).then_refused(OrderNotPaid)


def test_shipping_again_with_the_same_parcel_changes_nothing() -> None:
    orders.given(PLACED, PAID, SHIPPED).when(ship_order()).then_nothing()
    orders.given(PLACED, PAID, SHIPPED).when(ship_order(tracking_no="JD0002")).then_refused(OrderNotPaid)


def test_only_a_shipped_order_is_completed() -> None:
    for history in ([], [PAID], [CANCELLED], [PAID, REFUNDED]):
        orders.given(PLACED, *history).when(CompleteOrder()).then_refused(OrderNotShipped)
    orders.given(PLACED, PAID, SHIPPED, DONE).when(CompleteOrder()).then_nothing()


def test_cancelling_tells_which_pieces_are_free_again() -> None:
    orders.given(PLACED).when(CANCEL).then(CANCELLED)
    orders.given(PLACED, CANCELLED).when(CANCEL).then_nothing()


def test_a_paid_order_cannot_be_cancelled() -> None:
    for history in ([PAID], [PAID, SHIPPED], [PAID, SHIPPED, DONE], [PAID, REFUNDED]):
        orders.given(PLACED, *history).when(CANCEL).then_refused(OrderNotOpen)


def test_an_unpaid_order_expires_at_its_time_and_not_before() -> None:
    expired = order_cancelled(by=CancelledBy.EXPIRY)
    orders.given(PLACED).when(ExpireOrder(now=EXPIRES_AT)).then(expired)
    orders.given(PLACED).when(ExpireOrder(now=EXPIRES_AT - timedelta(microseconds=1))).then_nothing()


def test_an_order_that_is_no_longer_open_does_not_expire() -> None:
    for history in ([PAID], [CANCELLED], [PAID, REFUNDED]):
        orders.given(PLACED, *history).when(ExpireOrder(now=EXPIRES_AT)).then_nothing()


def test_an_order_paid_after_its_time_but_before_it_expired_is_paid() -> None:
    orders.given(PLACED).when(pay_order()).then(PAID)


def test_a_refund_tells_how_far_the_order_was() -> None:
    orders.given(PLACED, PAID).when(REFUND).then(REFUNDED)
    orders.given(PLACED, PAID, SHIPPED).when(REFUND).then(order_refunded(was=OrderStatus.SHIPPED))
    orders.given(PLACED, PAID, SHIPPED, DONE).when(REFUND).then(order_refunded(was=OrderStatus.DONE))
    orders.given(PLACED, PAID, REFUNDED).when(REFUND).then_nothing()


def test_what_was_not_paid_cannot_be_refunded() -> None:
    orders.given(PLACED).when(REFUND).then_refused(OrderNotPaid)
    orders.given(PLACED, CANCELLED).when(REFUND).then_refused(OrderNotPaid)
    orders.given(PLACED, CANCELLED, overpaid(OrderStatus.CANCELLED)).when(REFUND).then_refused(OrderNotPaid)


def test_the_money_of_a_refunded_order_goes_back_once() -> None:
    orders.given(PLACED, PAID, REFUNDED).when(RETURN).then(RETURNED)
    again = ReturnMoney(payment_id="pay-1", reference="re_2")
    for command in (RETURN, again):
        orders.given(PLACED, PAID, REFUNDED, RETURNED).when(command).then_nothing()


def test_the_money_of_a_late_payment_goes_back_as_much_as_had_come() -> None:
    late = overpaid(OrderStatus.CANCELLED, amount=euros("1.10"))
    command = ReturnMoney(payment_id="pay-2", reference="re_1")
    orders.given(PLACED, CANCELLED, late).when(command).then(
        order_money_returned(payment_id="pay-2", amount=euros("1.10"))
    )


def test_of_several_payments_each_goes_back_by_itself() -> None:
    history = (PLACED, PAID, overpaid(OrderStatus.PAID), REFUNDED, RETURNED)
    second = ReturnMoney(payment_id="pay-2", reference="re_2")
    orders.given(*history).when(second).then(order_money_returned(payment_id="pay-2", reference="re_2"))
    orders.given(*history).when(RETURN).then_nothing()


def test_money_that_is_not_owed_cannot_have_gone_back() -> None:
    for history in (
        [PLACED],
        [PLACED, PAID],
        [PLACED, CANCELLED],
        [PLACED, CANCELLED, overpaid(OrderStatus.CANCELLED)],
    ):
        orders.given(*history).when(RETURN).then_refused(MoneyNotOwed, pointer="/payment_id")


def test_money_that_goes_back_leaves_the_order_where_it_was() -> None:
    state = orders.given(PLACED, PAID, REFUNDED, RETURNED).state
    assert state is not None
    assert state.status is OrderStatus.REFUNDED
    assert not state.owed
    assert state.returned == {"pay-1"}


COMMANDS: list[OrderCommand] = [
    pay_order(),
    FailPayment(payment_id="pay-1"),
    ship_order(),
    CompleteOrder(),
    CANCEL,
    ExpireOrder(now=EXPIRES_AT),
    REFUND,
    RETURN,
]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_order_can_only_be_placed(command: OrderCommand) -> None:
    orders.when(command).then_refused(DoesNotExist)


@pytest.mark.parametrize(
    ("changes", "refusal", "pointer"),
    [
        ({"lines": ()}, InvalidValue, "/items"),
        ({"lines": (order_line(),) * (MOST_LINES + 1)}, InvalidValue, "/items"),
        ({"lines": (order_line(), order_line())}, DuplicateItem, "/items/1/product_id"),
        ({"lines": (order_line(quantity=0),)}, InvalidValue, "/items/0/quantity"),
        ({"lines": (order_line(quantity=1_000_001),)}, InvalidValue, "/items/0/quantity"),
        ({"lines": (order_line(tax_rate=Decimal(2)),)}, InvalidValue, "/items/0/tax_rate"),
        (
            {"lines": (order_line(unit_price=Money(amount=Decimal("0.001"), currency="EUR")),)},
            InvalidAmount,
            "/items/0/unit_price/amount",
        ),
        ({"lines": (order_line(unit_price=euros("999999999999.99"), quantity=2),)}, InvalidAmount, "/items"),
        (
            {
                "lines": (
                    order_line(),
                    order_line(product_id=OTHER_PRODUCT_ID, unit_price=Money.parse("1", "JPY")),
                )
            },
            MixedCurrencies,
            "/items/1",
        ),
        ({"shipping_address": address(country="Germany")}, InvalidValue, "/shipping_address/country"),
        ({"shipping_address": address(country="de")}, InvalidValue, "/shipping_address/country"),
        ({"shipping_address": address(country="XX")}, InvalidValue, "/shipping_address/country"),
        ({"shipping_address": address(country="UK")}, InvalidValue, "/shipping_address/country"),
        ({"shipping_address": address(country="ZZ")}, InvalidValue, "/shipping_address/country"),
        ({"shipping_address": address(line1="")}, InvalidValue, "/shipping_address/line1"),
        ({"shipping_address": address(city="x\x00")}, InvalidValue, "/shipping_address/city"),
        ({"expires_at": datetime(2026, 11, 22)}, InvalidValue, "/expires_at"),  # noqa: DTZ001
    ],
)
def test_an_order_the_shop_cannot_keep_is_refused(
    changes: dict[str, Any], refusal: type[Refusal], pointer: str
) -> None:
    orders.when(place_order(**changes)).then_refused(refusal, pointer=pointer)


def test_the_time_of_expiry_is_kept_in_utc() -> None:
    elsewhere = EXPIRES_AT.astimezone(timezone(timedelta(hours=9)))
    [placed] = ORDERS.decide(place_order(expires_at=elsewhere), None)
    assert placed == PLACED
    assert placed.expires_at.tzinfo is UTC


def test_text_that_is_no_line_is_refused() -> None:
    orders.given(PLACED).when(pay_order(payment_id="")).then_refused(InvalidValue, pointer="/payment_id")
    orders.given(PLACED).when(FailPayment(payment_id="\x00")).then_refused(InvalidValue, pointer="/payment_id")
    orders.given(PLACED, PAID).when(ship_order(carrier=" ")).then_refused(InvalidValue, pointer="/carrier")
    orders.given(PLACED, PAID).when(ship_order(tracking_no="\n")).then_refused(InvalidValue, pointer="/tracking_no")
    unnamed = ReturnMoney(payment_id="pay-1", reference="\n")
    orders.given(PLACED, PAID, REFUNDED).when(unnamed).then_refused(InvalidValue, pointer="/reference")
    long = CancelOrder(by=CancelledBy.CUSTOMER, reason="x" * 501)
    orders.given(PLACED).when(long).then_refused(InvalidValue, pointer="/reason")


def test_tax_is_rounded_once_per_line() -> None:
    third = [order_line(unit_price=euros("0.10"), quantity=1, tax_rate=Decimal("0.05"))] * 3
    assert totals(third).tax == euros("0.00")
    assert totals([order_line(unit_price=euros("0.30"), quantity=1, tax_rate=Decimal("0.05"))]).tax == euros("0.02")


def test_an_order_number_can_be_read_out_and_tells_nothing() -> None:
    number = order_number(ORDER_ID, 2026)
    assert number.startswith("W-2026-")
    assert len(number) == 15
    assert not set(number[7:]) & set("ILOU")
    assert number == order_number(ORDER_ID, 2026) != order_number(OTHER_ORDER_ID, 2026)


lines = st.builds(
    order_line,
    product_id=st.uuids(),
    quantity=st.integers(min_value=1, max_value=1000),
    unit_price=st.integers(min_value=0, max_value=10**8).map(lambda cents: euros(f"{cents // 100}.{cents % 100:02}")),
    tax_rate=st.decimals(min_value=0, max_value=1, places=4),
)


@given(st.lists(lines, min_size=1, max_size=8, unique_by=lambda line: line.product_id))
def test_an_order_is_what_its_lines_say_to_the_cent(items: list[Any]) -> None:
    [placed] = ORDERS.decide(place_order(lines=tuple(items)), None)
    assert placed == order_placed(lines=tuple(items))
    cents = [round(item.unit_price.amount * 100) * item.quantity for item in items]
    taxes = [round(Decimal(net) * item.tax_rate) for net, item in zip(cents, items, strict=True)]
    assert placed.subtotal.amount * 100 == sum(cents)
    assert placed.tax.amount * 100 == sum(taxes)
    assert placed.total.amount * 100 == sum(cents) + sum(taxes)


NEXT = {
    None: {"pending"},
    "pending": {"pending", "paid", "cancelled"},
    "paid": {"paid", "shipped", "refunded"},
    "shipped": {"shipped", "done", "refunded"},
    "done": {"done", "refunded"},
    "cancelled": {"cancelled"},
    "refunded": {"refunded"},
}
wishes = st.sampled_from([place_order(), pay_order(payment_id="pay-2"), *COMMANDS])


def _carried_out(command: OrderCommand, order: Order | None) -> list[OrderEvent]:
    try:
        return list(ORDERS.decide(command, order))
    except Refusal:
        return []


@given(st.lists(wishes, max_size=25))
def test_no_sequence_of_commands_leaves_the_status_graph(asked: list[OrderCommand]) -> None:
    order: Order | None = None
    for command in asked:
        for event in _carried_out(command, order):
            before = order.status if order else None
            order = after = ORDERS.evolve(order, event)
            assert after is not None
            assert after.status in NEXT[before]


@given(st.lists(wishes, max_size=25))
def test_a_command_that_was_carried_out_changes_nothing_the_second_time(asked: list[OrderCommand]) -> None:
    order: Order | None = None
    for command in asked:
        for event in _carried_out(command, order):
            order = ORDERS.evolve(order, event)
            assert _carried_out(command, order) == []
