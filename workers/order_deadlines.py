"""The shop's process managers, what their effects become, and how the commands of their timers are carried out.

They are consumers of their own, apart from the reactions: an order ends in time even if no mail can be addressed to its
customer.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, assert_never
from uuid import UUID

from domain.kernel.messages import Command
from domain.kernel.process_manager import ProcessManager
from domain.orders import ORDERS, ExpireOrder
from domain.orders.payment_deadline import ORDER_TIME, OrderEffect, OrderTime, PaymentReminder, RefundOwed
from domain.workflows.checkout import change_order
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.event_log import EventLog, Session
from infra.eventsourcing.process_managers.consumer import Effects
from infra.eventsourcing.process_managers.timer_runner import Issue
from infra.mail import outbox
from infra.mail.outbox import Mail
from infra.payments import refund_outbox
from workers.mail import recipients
from workers.mail.due_mails import RecipientUnknown

PROCESSES: Final[Mapping[str, ProcessManager[Any, Any]]] = {each.name: each for each in (ORDER_TIME,)}
"""The table of all process managers. Each is a consumer of its name."""

REMINDER: Final = "payment_reminder"


def effects_of(log: EventLog, domain: str) -> Effects:
    """Writes effects down: mails due, and money owed. ``domain`` is the right side of Message-IDs."""
    return partial(_write_effects, log.log_id, domain)


def issuer(commands: CommandHandler) -> Issue:
    """Carries out the commands of timers."""

    async def issue(command: Command, entity_id: UUID, context: CommandContext) -> None:
        match command:
            case ExpireOrder():
                order = await commands.read_cached(ORDERS, entity_id)
                assert order is not None  # noqa: S101 - a stream with events has a state
                await commands.run(*change_order(entity_id, order, command), context)
            case _:
                raise TypeError(f"nobody carries out {type(command).__name__}")

    return issue


async def _write_effects(log_id: UUID, domain: str, session: Session, effects: Sequence[OrderEffect]) -> None:
    """Writes each once, however often it comes, in the caller's transaction.

    Raises :class:`~workers.mail.due_mails.RecipientUnknown`.
    """
    for effect in effects:
        match effect:
            case PaymentReminder():
                await _remind(session, log_id, domain, effect)
            case RefundOwed():
                await refund_outbox.write(session, effect)
            case _:
                assert_never(effect)


async def _remind(session: Session, log_id: UUID, domain: str, reminding: PaymentReminder) -> None:
    """A mail to the address of this moment. Who has erased the account since gets none."""
    order = reminding.order
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
