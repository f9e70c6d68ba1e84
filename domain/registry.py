"""Every event under the name it is stored by. A name is chosen once and never changed, moved or used again."""

from collections.abc import Mapping
from typing import Final

from domain import accounts, catalogue, inventory, orders, rooms, webhooks
from domain.kernel.event_registry import EventRegistry, EventType

EVENTS: Final[Mapping[str, EventType]] = {
    "account.registered": EventType(cls=accounts.AccountRegistered),
    "account.activated": EventType(cls=accounts.AccountActivated),
    "account.deactivated": EventType(cls=accounts.AccountDeactivated),
    "account.roles_changed": EventType(cls=accounts.AccountRolesChanged),
    "account.email_verification_requested": EventType(cls=accounts.AccountEmailVerificationRequested),
    "account.email_verified": EventType(cls=accounts.AccountEmailVerified),
    "account.username_changed": EventType(cls=accounts.AccountUsernameChanged),
    "account.profile_changed": EventType(cls=accounts.AccountProfileChanged),
    "account.password_changed": EventType(cls=accounts.AccountPasswordChanged),
    "account.password_reset_requested": EventType(cls=accounts.AccountPasswordResetRequested),
    "account.session_ended": EventType(cls=accounts.AccountSessionEnded),
    "account.token_reused": EventType(cls=accounts.AccountTokenReused),
    "account.api_key_revoked": EventType(cls=accounts.AccountApiKeyRevoked),
    "account.erased": EventType(cls=accounts.AccountErased),
    "product.added": EventType(cls=catalogue.ProductAdded),
    "product.repriced": EventType(cls=catalogue.ProductRepriced),
    "product.described": EventType(cls=catalogue.ProductDescribed),
    "product.sku_changed": EventType(cls=catalogue.ProductSkuChanged),
    "product.image_changed": EventType(cls=catalogue.ProductImageChanged),
    "product.discontinued": EventType(cls=catalogue.ProductDiscontinued),
    "stock.received": EventType(cls=inventory.StockReceived),
    "stock.withdrawn": EventType(cls=inventory.StockWithdrawn),
    "stock.reserved": EventType(cls=inventory.StockReserved),
    "stock.released": EventType(cls=inventory.StockReleased),
    "stock.sold": EventType(cls=inventory.StockSold),
    "stock.returned": EventType(cls=inventory.StockReturned),
    "order.placed": EventType(cls=orders.OrderPlaced),
    "order.paid": EventType(cls=orders.OrderPaid),
    "order.payment_failed": EventType(cls=orders.OrderPaymentFailed),
    "order.overpaid": EventType(cls=orders.OrderOverpaid),
    "order.shipped": EventType(cls=orders.OrderShipped),
    "order.completed": EventType(cls=orders.OrderCompleted),
    "order.cancelled": EventType(cls=orders.OrderCancelled),
    "order.refunded": EventType(cls=orders.OrderRefunded),
    "order.money_returned": EventType(cls=orders.OrderMoneyReturned),
    "room.opened": EventType(cls=rooms.RoomOpened),
    "room.invited": EventType(cls=rooms.RoomInvited),
    "room.invitation_withdrawn": EventType(cls=rooms.RoomInvitationWithdrawn),
    "room.joined": EventType(cls=rooms.RoomJoined),
    "room.left": EventType(cls=rooms.RoomLeft),
    "room.message_posted": EventType(cls=rooms.RoomMessagePosted),
    "room.closed": EventType(cls=rooms.RoomClosed),
    "webhook.registered": EventType(cls=webhooks.WebhookRegistered),
    "webhook.changed": EventType(cls=webhooks.WebhookChanged),
    "webhook.activated": EventType(cls=webhooks.WebhookActivated),
    "webhook.deactivated": EventType(cls=webhooks.WebhookDeactivated),
    "webhook.secret_rotated": EventType(cls=webhooks.WebhookSecretRotated),
    "webhook.deleted": EventType(cls=webhooks.WebhookDeleted),
}

REGISTRY: Final = EventRegistry(EVENTS)
