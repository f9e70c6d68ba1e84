"""Effects of process managers: mails due, and money owed; each is written once, however often it is noted."""

from collections.abc import Sequence
from typing import Any, assert_never
from uuid import UUID

from domain.orders.payment_deadline import OrderNote, OrderTime, PaymentReminder, RefundOwed
from infra.eventsourcing.event_log import Session
from infra.mail import outbox
from infra.mail.outbox import Mail
from infra.payments import refund_outbox
from workers.mail import recipients
from workers.mail.due_mails import RecipientUnknown

REMINDER = "payment_reminder"


async def write_notes(session: Session, log_id: UUID, domain: str, notes: Sequence[OrderNote]) -> None:
    """Writes the notes down, in the caller's transaction. Raises :class:`~workers.mail.due_mails.RecipientUnknown`."""
    for note in notes:
        match note:
            case PaymentReminder():
                await _remind(session, log_id, domain, note)
            case RefundOwed():
                await refund_outbox.write(session, note)
            case _:
                assert_never(note)


async def _remind(session: Session, log_id: UUID, domain: str, note: PaymentReminder) -> None:
    """A mail to the address of this moment. Who has erased the account since gets none."""
    order = note.order
    known = await recipients.known(session, [order.customer_id])
    if order.customer_id not in known:
        raise RecipientUnknown(f"account {order.customer_id}")
    recipient = known[order.customer_id]
    if recipient is None:
        return
    mail = Mail(
        position=order.position,
        moment=order.expires_at,
        kind=REMINDER,
        recipient=recipient.email,
        language=recipient.language,
        context={"username": recipient.username, **reminder(order)},
        correlation=order.correlation,
    )
    await outbox.write(session, log_id, domain, [mail])


def reminder(order: OrderTime) -> dict[str, Any]:
    """What the reminder tells of the order."""
    return {"order_no": order.order_no, "total": str(order.total), "expires_at": order.expires_at.isoformat()}
