"""A mail of each kind to look at: made of events, by the reactions that make the real ones."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from domain.accounts import (
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountRegistered,
    PasswordChangedBy,
    Role,
)
from domain.kernel.messages import Event
from domain.money import Money
from domain.orders import (
    Address,
    CancelledBy,
    OrderCancelled,
    OrderLine,
    OrderOverpaid,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
    OrderStatus,
    totals,
)
from domain.orders.payment_deadline import OrderTime
from infra.identity.one_time_links import Lives
from infra.locales import FALLBACK
from infra.mail.outbox import Claimed
from workers.mail.links import LINKED, link_to, linked
from workers.mail.reactions import react
from workers.order_deadlines import REMINDER, reminder

_ID: Final = UUID("0192f0c1-0000-7000-8000-000000000001")
_AT: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_PAY_BY: Final = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
_ORDER: Final[Mapping[str, Any]] = {"order_id": _ID, "order_no": "W-2026-7K3M9QXA", "customer_id": _ID}


def _euros(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


def _line(sku: str, name: str, quantity: int, price: str) -> OrderLine:
    return OrderLine(
        product_id=_ID, sku=sku, name=name, quantity=quantity, unit_price=_euros(price), tax_rate=Decimal("0.19")
    )


_LINES: Final = (
    _line("TEA-1", "Tea pot, holds four cups", 2, "19.90"),
    _line("CUP-6", "Six cups of thin porcelain, with a pattern of small blue leaves", 1, "1249.00"),
)
_SUMS: Final = totals(_LINES)
_EVENTS: Final[tuple[Event, ...]] = (
    AccountRegistered(
        account_id=_ID,
        email="ada@example.com",
        email_key="ada@example.com",
        username="ada",
        username_key="ada",
        roles=(Role.CUSTOMER,),
    ),
    AccountPasswordResetRequested(account_id=_ID),
    AccountPasswordChanged(account_id=_ID, by=PasswordChangedBy.RESET, kept_session=None),
    OrderPlaced(
        **_ORDER,
        lines=_LINES,
        subtotal=_SUMS.subtotal,
        tax=_SUMS.tax,
        total=_SUMS.total,
        shipping_address=Address(name="Ada L.", line1="Markt 1", postal_code="07743", city="Jena", country="DE"),
        expires_at=_PAY_BY,
    ),
    OrderPaid(**_ORDER, payment_id="pay-1", amount=_SUMS.total, lines=_LINES),
    OrderShipped(**_ORDER, carrier="DHL", tracking_no="JD014600031234567890"),
    OrderCancelled(**_ORDER, by=CancelledBy.STAFF, reason="The tea pot broke in our hands", lines=_LINES),
    OrderOverpaid(**_ORDER, payment_id="pay-2", amount=_SUMS.total, was=OrderStatus.CANCELLED),
)


def samples(pages_url: str, lives: Lives, language: str = FALLBACK) -> dict[str, Claimed]:
    """A mail of each kind in that language, to be composed as it is. Its links have a token of nobody."""
    return {kind: _sample(kind, context, pages_url, lives, language) for kind, context in _contexts()}


def _contexts() -> Iterator[tuple[str, dict[str, Any]]]:
    for event in _EVENTS:
        for due in react(event):
            yield due.kind, due.context
    order = OrderTime(**_ORDER, total=_SUMS.total, position=1, correlation=None, expires_at=_PAY_BY, remind_at=None)
    yield REMINDER, reminder(order)


def _sample(kind: str, context: dict[str, Any], pages_url: str, lives: Lives, language: str) -> Claimed:
    mail = Claimed(
        mail_id=_ID,
        kind=kind,
        recipient="ada@example.com",
        language=language,
        context={"username": "ada", **context},
        message_id=f"<{_ID.hex}@weir.example>",
        correlation=None,
        attempts=1,
        created_at=_AT,
    )
    purpose = LINKED.get(kind)
    if purpose is None:
        return mail
    return linked(mail, link_to(pages_url, purpose, "0" * 64, language), lives[purpose])
