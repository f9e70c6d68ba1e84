"""The rest of the story's day, on which everything happens that can: so each event has an example.

Told apart from the story, whose documents are examples as well: there no order is cancelled and nobody is erased.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Final
from uuid import UUID

from api.examples.story import ADA, NOON, ORDER, PROVIDER, ROOM, STAFF, TEA_POT, WEBHOOK, Story, uuid7
from domain.accounts import (
    ACCOUNTS,
    ActivateAccount,
    ChangePassword,
    ChangeRoles,
    ChangeUsername,
    DeactivateAccount,
    EndedBy,
    EndSession,
    EraseAccount,
    PasswordChangedBy,
    RegisterAccount,
    ReportTokenReuse,
    RequestEmailVerification,
    RequestPasswordReset,
    RevokeApiKey,
    Role,
)
from domain.catalogue import (
    PRODUCTS,
    ChangeImage,
    ChangeSku,
    DescribeProduct,
    DiscontinueProduct,
    Image,
    RepriceProduct,
)
from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.messages import Recorded
from domain.money import Money
from domain.orders import (
    ORDERS,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    FailPayment,
    PayOrder,
    PlaceOrder,
    RefundOrder,
    ReturnMoney,
    order_number,
)
from domain.rooms import ROOMS, CloseRoom, InviteToRoom, LeaveRoom
from domain.webhooks import (
    WEBHOOKS,
    ActivateWebhook,
    ChangeWebhook,
    DeactivateWebhook,
    DeleteWebhook,
    RotateWebhookSecret,
)

BOB: Final = uuid7(20)
CANCELLED: Final = uuid7(21)
REFUNDED: Final = uuid7(22)


@cache
def whole_day() -> Sequence[Recorded]:
    """All that has happened by the evening."""
    story = Story()
    _bob(story)
    _orders(story)
    _tea_pots(story)
    _talk(story)
    _warehouse(story)
    story.do(ACCOUNTS, BOB, EraseAccount(), BOB)
    return story.events


def _bob(story: Story) -> None:
    story.do(ACCOUNTS, BOB, RegisterAccount(account_id=BOB, email="bob@example.org", username="bob"), None)
    for command in (
        RequestEmailVerification(),
        ChangeUsername(username="bob.b"),
        ChangePassword(by=PasswordChangedBy.OWNER, kept_session=uuid7(23)),
        RequestPasswordReset(),
        EndSession(session_id=uuid7(24), by=EndedBy.OWNER),
        RevokeApiKey(key_id=uuid7(25)),
        ReportTokenReuse(session_id=uuid7(26)),
    ):
        story.do(ACCOUNTS, BOB, command, BOB)
    for decision in (ChangeRoles(roles=(Role.CUSTOMER, Role.STAFF)), DeactivateAccount(), ActivateAccount()):
        story.do(ACCOUNTS, BOB, decision, STAFF)


def _orders(story: Story) -> None:
    """Ada's order arrives. Bob's first is cancelled and paid all the same, his second is paid and given back."""
    total = story.placed.total
    story.do(ORDERS, ORDER, CompleteOrder(), STAFF)
    _place(story, CANCELLED)
    story.do(ORDERS, CANCELLED, FailPayment(payment_id="pay_3A9B"), PROVIDER)
    story.do(ORDERS, CANCELLED, CancelOrder(by=CancelledBy.CUSTOMER, reason="found a blue one"), BOB)
    story.do(ORDERS, CANCELLED, PayOrder(payment_id="pay_5C1D", amount=total), PROVIDER)
    story.do(ORDERS, CANCELLED, ReturnMoney(payment_id="pay_5C1D", reference="re_41E7"), PROVIDER)
    _place(story, REFUNDED)
    story.do(ORDERS, REFUNDED, PayOrder(payment_id="pay_8E2F", amount=total), PROVIDER)
    story.do(ORDERS, REFUNDED, RefundOrder(reason="it had a dent"), STAFF)


def _place(story: Story, order_id: UUID) -> None:
    placing = PlaceOrder(
        order_id=order_id,
        order_no=order_number(order_id, NOON.year),
        customer_id=BOB,
        lines=story.placed.lines,
        expires_at=NOON + timedelta(hours=1),
    )
    story.do(ORDERS, order_id, placing, BOB)


def _tea_pots(story: Story) -> None:
    """They get dearer, are shown and described, and sold no more."""
    for command in (
        RepriceProduct(price=Money.parse("21.50", "EUR")),
        DescribeProduct(description="Holds six cups."),
        ChangeSku(sku="TEA-POT-2"),
        ChangeImage(image=Image(digest="5f" * 32, content_type="image/png", size=48_213)),
        DiscontinueProduct(),
    ):
        story.do(PRODUCTS, TEA_POT, command, STAFF)
    story.do(INVENTORY, TEA_POT, ChangeStock(product_id=TEA_POT, change=-1, reason="broken"), STAFF)


def _talk(story: Story) -> None:
    """Bob is asked into Ada's room and does not want to; the staff go, and the room is closed."""
    for command, actor in (
        (InviteToRoom(account_id=BOB, by=ADA, most=10), ADA),
        (LeaveRoom(account_id=BOB, by=BOB), BOB),
        (LeaveRoom(account_id=STAFF, by=STAFF), STAFF),
        (CloseRoom(by=ADA), ADA),
    ):
        story.do(ROOMS, ROOM, command, actor)


def _warehouse(story: Story) -> None:
    for command in (
        ChangeWebhook(event_types=("order.paid", "order.cancelled", "order.refunded")),
        DeactivateWebhook(),
        ActivateWebhook(),
        RotateWebhookSecret(secret_id=uuid7(27)),
        DeleteWebhook(),
    ):
        story.do(WEBHOOKS, WEBHOOK, command, STAFF)
