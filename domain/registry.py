"""Every event under the name it is stored by. A name is chosen once and never changed, moved or used again."""

from collections.abc import Mapping
from typing import Final

from domain.accounts import (
    AccountActivated,
    AccountApiKeyRevoked,
    AccountDeactivated,
    AccountEmailVerificationRequested,
    AccountEmailVerified,
    AccountErased,
    AccountPasswordChanged,
    AccountPasswordResetRequested,
    AccountProfileChanged,
    AccountRegistered,
    AccountRolesChanged,
    AccountSessionEnded,
    AccountTokenReused,
    AccountUsernameChanged,
)
from domain.catalogue import (
    ProductAdded,
    ProductDescribed,
    ProductDiscontinued,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
)
from domain.inventory import (
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
    StockSold,
    StockWithdrawn,
)
from domain.kernel.event_registry import EventRegistry, EventType
from domain.orders import (
    OrderCancelled,
    OrderCompleted,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
)

EVENTS: Final[Mapping[str, EventType]] = {
    "account.registered": EventType(cls=AccountRegistered),
    "account.activated": EventType(cls=AccountActivated),
    "account.deactivated": EventType(cls=AccountDeactivated),
    "account.roles_changed": EventType(cls=AccountRolesChanged),
    "account.email_verification_requested": EventType(cls=AccountEmailVerificationRequested),
    "account.email_verified": EventType(cls=AccountEmailVerified),
    "account.username_changed": EventType(cls=AccountUsernameChanged),
    "account.profile_changed": EventType(cls=AccountProfileChanged),
    "account.password_changed": EventType(cls=AccountPasswordChanged),
    "account.password_reset_requested": EventType(cls=AccountPasswordResetRequested),
    "account.session_ended": EventType(cls=AccountSessionEnded),
    "account.token_reused": EventType(cls=AccountTokenReused),
    "account.api_key_revoked": EventType(cls=AccountApiKeyRevoked),
    "account.erased": EventType(cls=AccountErased),
    "product.added": EventType(cls=ProductAdded),
    "product.repriced": EventType(cls=ProductRepriced),
    "product.described": EventType(cls=ProductDescribed),
    "product.sku_changed": EventType(cls=ProductSkuChanged),
    "product.image_changed": EventType(cls=ProductImageChanged),
    "product.discontinued": EventType(cls=ProductDiscontinued),
    "stock.received": EventType(cls=StockReceived),
    "stock.withdrawn": EventType(cls=StockWithdrawn),
    "stock.reserved": EventType(cls=StockReserved),
    "stock.released": EventType(cls=StockReleased),
    "stock.sold": EventType(cls=StockSold),
    "stock.returned": EventType(cls=StockReturned),
    "order.placed": EventType(cls=OrderPlaced),
    "order.paid": EventType(cls=OrderPaid),
    "order.payment_failed": EventType(cls=OrderPaymentFailed),
    "order.overpaid": EventType(cls=OrderOverpaid),
    "order.shipped": EventType(cls=OrderShipped),
    "order.completed": EventType(cls=OrderCompleted),
    "order.cancelled": EventType(cls=OrderCancelled),
    "order.refunded": EventType(cls=OrderRefunded),
    "order.money_returned": EventType(cls=OrderMoneyReturned),
}

REGISTRY: Final = EventRegistry(EVENTS)
