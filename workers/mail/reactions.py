"""Reactions: a table from event to reactions, each a pure function that says which mails are due.

A reaction tells everything that its mail needs, so that the sender asks nobody.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from domain.accounts import (
    AccountEmailVerificationRequested,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountRegistered,
)
from domain.kernel.messages import Event
from domain.orders import OrderCancelled, OrderLine, OrderOverpaid, OrderPaid, OrderPlaced, OrderShipped


@dataclass(frozen=True, kw_only=True)
class MailDue:
    """A mail to an account. ``context`` is plain JSON: amounts and times are text already."""

    kind: str
    account_id: UUID
    context: dict[str, Any]


Reaction: TypeAlias = Callable[[Any], Sequence[MailDue]]
"""Takes the event that it stands beside in the table, and no other."""


def confirm_order(order: OrderPlaced) -> Sequence[MailDue]:
    """The customer gets what was ordered, what it costs, and until when it can be paid."""
    context = {
        "order_no": order.order_no,
        "lines": [_line(line) for line in order.lines],
        "subtotal": str(order.subtotal),
        "tax": str(order.tax),
        "total": str(order.total),
        "expires_at": order.expires_at.isoformat(),
        "shipping_address": _address(order),
    }
    return [MailDue(kind="order_confirmation", account_id=order.customer_id, context=context)]


def confirm_payment(order: OrderPaid) -> Sequence[MailDue]:
    """The customer hears that the money has come."""
    context = {"order_no": order.order_no, "amount": str(order.amount)}
    return [MailDue(kind="payment_received", account_id=order.customer_id, context=context)]


def tell_of_cancellation(order: OrderCancelled) -> Sequence[MailDue]:
    """The customer hears who ended the order and why, and that money which is under way comes back."""
    context = {"order_no": order.order_no, "by": order.by.value, "reason": order.reason}
    return [MailDue(kind="order_cancelled", account_id=order.customer_id, context=context)]


def tell_of_return(payment: OrderOverpaid) -> Sequence[MailDue]:
    """The customer hears that money which came too late, or twice, goes back; of nothing, nothing is said."""
    if not payment.amount.amount:
        return ()
    context = {"order_no": payment.order_no, "amount": str(payment.amount), "was": payment.was.value}
    return [MailDue(kind="payment_returned", account_id=payment.customer_id, context=context)]


def announce_shipment(order: OrderShipped) -> Sequence[MailDue]:
    """The customer gets the carrier and the tracking number."""
    context = {"order_no": order.order_no, "carrier": order.carrier, "tracking_no": order.tracking_no}
    return [MailDue(kind="shipping_notice", account_id=order.customer_id, context=context)]


def ask_whose_address_it_is(account: AccountRegistered) -> Sequence[MailDue]:
    """The owner gets a link by which to show that the address is theirs."""
    return [MailDue(kind="verify_email", account_id=account.account_id, context={})]


def ask_again_whose_address_it_is(request: AccountEmailVerificationRequested) -> Sequence[MailDue]:
    """The owner gets another link; it takes the place of the one before."""
    return [MailDue(kind="verify_email", account_id=request.account_id, context={"again": True})]


def send_reset_link(request: AccountPasswordResetRequested) -> Sequence[MailDue]:
    """The owner gets a link by which to choose a new password."""
    return [MailDue(kind="password_reset", account_id=request.account_id, context={})]


def tell_of_new_password(change: AccountPasswordChanged) -> Sequence[MailDue]:
    """The owner hears of it, who may not have been the one to do it."""
    return [MailDue(kind="password_changed", account_id=change.account_id, context={"by": change.by.value})]


REACTIONS: Final[Mapping[type[Event], tuple[Reaction, ...]]] = {
    OrderPlaced: (confirm_order,),
    OrderPaid: (confirm_payment,),
    OrderShipped: (announce_shipment,),
    OrderCancelled: (tell_of_cancellation,),
    OrderOverpaid: (tell_of_return,),
    AccountRegistered: (ask_whose_address_it_is,),
    AccountEmailVerificationRequested: (ask_again_whose_address_it_is,),
    AccountPasswordResetRequested: (send_reset_link,),
    AccountPasswordChanged: (tell_of_new_password,),
}


def react(event: Event) -> list[MailDue]:
    """All mails that are due because of the event."""
    return [mail for reaction in REACTIONS.get(type(event), ()) for mail in reaction(event)]


def _line(line: OrderLine) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": str(line.unit_price),
        "line_total": str(line.line_total),
    }


def _address(order: OrderPlaced) -> list[str]:
    """The address line by line, as it would stand on a parcel."""
    address = order.shipping_address
    if address is None:
        return []
    place = " ".join(part for part in (address.postal_code, address.city) if part)
    parts = (address.name, address.line1, address.line2, place, address.region, address.country)
    return [part for part in parts if part]
