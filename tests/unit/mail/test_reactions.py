"""Reactions: which mails an event makes due, and with which words."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from domain.accounts import (
    AccountEmailVerificationRequested,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    PasswordChangedBy,
)
from domain.money import Money
from domain.orders import (
    Address,
    CancelledBy,
    OrderCancelled,
    OrderCompleted,
    OrderLine,
    OrderOverpaid,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    OrderStatus,
)
from domain.registry import REGISTRY
from tests.support.builders import account_registered
from workers.mail.kinds import KINDS
from workers.mail.links import LINKED
from workers.mail.reactions import REACTIONS, MailDue, react
from workers.order_deadlines import REMINDER

ORDER = UUID("01890000-0000-7000-8000-0000000000aa")
CUSTOMER = UUID("01890000-0000-7000-8000-0000000000bb")


def euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


LINE = OrderLine(
    product_id=UUID(int=7),
    sku="TEA-1",
    name="Green tea",
    quantity=3,
    unit_price=euros("4.10"),
    tax_rate=Decimal("0.07"),
)
PLACED = OrderPlaced(
    order_id=ORDER,
    order_no="W-2026-7K3M9QXA",
    customer_id=CUSTOMER,
    lines=(LINE,),
    subtotal=euros("12.30"),
    tax=euros("0.86"),
    total=euros("13.16"),
    shipping_address=Address(name="Ada", line1="Main St 1", city="Ulm", country="DE", postal_code="89073"),
    expires_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
)
SHIPPED = OrderShipped(
    order_id=ORDER, order_no="W-2026-7K3M9QXA", customer_id=CUSTOMER, carrier="DHL", tracking_no="JD01460003"
)
PAID = OrderPaid(
    order_id=ORDER,
    order_no="W-2026-7K3M9QXA",
    customer_id=CUSTOMER,
    payment_id="p",
    amount=euros("13.16"),
    lines=(LINE,),
)
CANCELLED = OrderCancelled(
    order_id=ORDER,
    order_no="W-2026-7K3M9QXA",
    customer_id=CUSTOMER,
    by=CancelledBy.STAFF,
    reason="<sold out>",
    lines=(LINE,),
)
LATE = OrderOverpaid(
    order_id=ORDER,
    order_no="W-2026-7K3M9QXA",
    customer_id=CUSTOMER,
    payment_id="p",
    amount=euros("13.16"),
    was=OrderStatus.CANCELLED,
)
REGISTERED = account_registered(account_id=CUSTOMER)
ASKED_AGAIN = AccountEmailVerificationRequested(account_id=CUSTOMER)
RESET_ASKED = AccountPasswordResetRequested(account_id=CUSTOMER)
CHANGED = AccountPasswordChanged(account_id=CUSTOMER, by=PasswordChangedBy.RESET, kept_session=None)


def test_a_placed_order_is_confirmed_to_its_customer() -> None:
    (mail,) = react(PLACED)
    assert (mail.kind, mail.account_id) == ("order_confirmation", CUSTOMER)
    assert mail.context["order_no"] == "W-2026-7K3M9QXA"


def test_amounts_are_told_to_the_cent_and_never_as_floats() -> None:
    (mail,) = react(PLACED)
    assert (mail.context["subtotal"], mail.context["tax"], mail.context["total"]) == (
        "12.30 EUR",
        "0.86 EUR",
        "13.16 EUR",
    )
    assert mail.context["lines"] == [
        {"sku": "TEA-1", "name": "Green tea", "quantity": 3, "unit_price": "4.10 EUR", "line_total": "12.30 EUR"}
    ]


def test_amounts_of_any_size_and_currency_keep_every_digit() -> None:
    line = replace(LINE, unit_price=Money(amount=Decimal("999999999999.999"), currency="KWD"), quantity=1_000_000)
    (mail,) = react(replace(PLACED, lines=(line,)))
    assert mail.context["lines"][0]["line_total"] == "999999999999999000.000 KWD"


def test_the_address_is_told_as_it_stands_on_the_parcel() -> None:
    (mail,) = react(PLACED)
    assert mail.context["shipping_address"] == ["Ada", "Main St 1", "89073 Ulm", "DE"]


def test_an_order_without_an_address_has_none_in_its_mail() -> None:
    (mail,) = react(replace(PLACED, shipping_address=None))
    assert mail.context["shipping_address"] == []


def test_a_shipped_order_is_announced_with_its_tracking_number() -> None:
    (mail,) = react(SHIPPED)
    assert (mail.kind, mail.account_id) == ("shipping_notice", CUSTOMER)
    assert mail.context == {"order_no": "W-2026-7K3M9QXA", "carrier": "DHL", "tracking_no": "JD01460003"}


def test_a_payment_is_confirmed_to_the_cent() -> None:
    (mail,) = react(PAID)
    assert (mail.kind, mail.account_id) == ("payment_received", CUSTOMER)
    assert mail.context == {"order_no": "W-2026-7K3M9QXA", "amount": "13.16 EUR"}


def test_a_cancellation_is_told_with_who_and_why() -> None:
    (mail,) = react(CANCELLED)
    assert (mail.kind, mail.account_id) == ("order_cancelled", CUSTOMER)
    assert mail.context == {"order_no": "W-2026-7K3M9QXA", "by": "staff", "reason": "<sold out>"}


def test_money_that_comes_too_late_is_told_to_go_back() -> None:
    (mail,) = react(LATE)
    assert (mail.kind, mail.account_id) == ("payment_returned", CUSTOMER)
    assert mail.context == {"order_no": "W-2026-7K3M9QXA", "amount": "13.16 EUR", "was": "cancelled"}


def test_nobody_hears_that_nothing_goes_back() -> None:
    assert react(replace(LATE, amount=euros("0.00"))) == []


def test_an_event_without_a_reaction_makes_no_mail_due() -> None:
    assert react(OrderCompleted(order_id=ORDER, order_no="W-1", customer_id=CUSTOMER)) == []


def test_a_reaction_gives_the_same_answer_every_time() -> None:
    assert react(PLACED) == react(PLACED)


def test_every_event_in_the_table_is_one_that_the_log_can_hold() -> None:
    assert set(REACTIONS) <= set(REGISTRY.names)


def test_a_new_account_is_asked_whether_the_address_is_its_own() -> None:
    assert react(REGISTERED) == [MailDue(kind="verify_email", account_id=CUSTOMER, context={})]


def test_whoever_asks_for_another_link_gets_the_same_kind_of_mail_that_says_so() -> None:
    assert react(ASKED_AGAIN) == [MailDue(kind="verify_email", account_id=CUSTOMER, context={"again": True})]


def test_whoever_forgot_the_password_gets_a_link() -> None:
    assert react(RESET_ASKED) == [MailDue(kind="password_reset", account_id=CUSTOMER, context={})]


def test_a_new_password_is_told_to_the_owner() -> None:
    assert react(CHANGED) == [MailDue(kind="password_changed", account_id=CUSTOMER, context={"by": "reset"})]


def test_every_kind_of_mail_that_a_reaction_makes_due_has_a_letter() -> None:
    events = (PLACED, PAID, SHIPPED, CANCELLED, LATE, REGISTERED, ASKED_AGAIN, RESET_ASKED, CHANGED)
    assert {type(event) for event in events} == set(REACTIONS)
    assert {mail.kind for event in events for mail in react(event)} | {REMINDER} == set(KINDS)


def test_every_mail_with_a_link_is_one_that_is_sent() -> None:
    assert set(LINKED) <= set(KINDS)
