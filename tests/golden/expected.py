"""What each golden payload is read as by this release: stored name and version → event."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

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
    EndedBy,
    PasswordChangedBy,
    Role,
)
from domain.catalogue import (
    Image,
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
from domain.kernel.messages import Event
from domain.money import Money
from domain.orders import (
    Address,
    CancelledBy,
    OrderCancelled,
    OrderCompleted,
    OrderLine,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
)

ACCOUNT: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PRODUCT: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
MUG: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8059")
ORDER: Final = UUID("01890a5d-ac96-774b-bcce-b302099a805a")
SESSION: Final = UUID("01890a5d-ac96-774b-bcce-b302099a805b")
NUMBER: Final = "W-2026-7K3M9QXA"

TEA_POTS: Final = OrderLine(
    product_id=PRODUCT,
    sku="TEA-1",
    name="Teekännchen",
    quantity=2,
    unit_price=Money(amount=Decimal("19.90"), currency="EUR"),
    tax_rate=Decimal("0.19"),
)
MUGS: Final = OrderLine(
    product_id=MUG,
    sku="MUG-1",
    name="Mug",
    quantity=1,
    unit_price=Money(amount=Decimal("5.00"), currency="EUR"),
    tax_rate=Decimal("0"),
)
TOTAL: Final = Money(amount=Decimal("52.36"), currency="EUR")

EXPECTED: Final[Mapping[tuple[str, int], Event]] = {
    ("account.registered", 1): AccountRegistered(
        account_id=ACCOUNT,
        email="Ada@Bücher.example",
        email_key="ada@xn--bcher-kva.example",
        username="Ada",
        username_key="ada",
        roles=(Role.CUSTOMER, Role.ADMIN),
        language="de",
    ),
    ("account.activated", 1): AccountActivated(account_id=ACCOUNT),
    ("account.deactivated", 1): AccountDeactivated(account_id=ACCOUNT),
    ("account.roles_changed", 1): AccountRolesChanged(account_id=ACCOUNT, roles=(Role.STAFF,)),
    ("account.email_verification_requested", 1): AccountEmailVerificationRequested(account_id=ACCOUNT),
    ("account.email_verified", 1): AccountEmailVerified(account_id=ACCOUNT, email="Ada@Bücher.example"),
    ("account.username_changed", 1): AccountUsernameChanged(
        account_id=ACCOUNT, username="Ada_Straße", username_key="ada_strasse"
    ),
    ("account.profile_changed", 1): AccountProfileChanged(account_id=ACCOUNT, full_name="Ada Lovelace", bio=None),
    ("account.password_changed", 1): AccountPasswordChanged(
        account_id=ACCOUNT, by=PasswordChangedBy.OWNER, kept_session=SESSION
    ),
    ("account.password_reset_requested", 1): AccountPasswordResetRequested(account_id=ACCOUNT),
    ("account.session_ended", 1): AccountSessionEnded(account_id=ACCOUNT, session_id=SESSION, by=EndedBy.LOGOUT),
    ("account.token_reused", 1): AccountTokenReused(account_id=ACCOUNT, session_id=SESSION),
    ("account.api_key_revoked", 1): AccountApiKeyRevoked(account_id=ACCOUNT, key_id=SESSION),
    ("account.erased", 1): AccountErased(account_id=ACCOUNT),
    ("product.added", 1): ProductAdded(
        product_id=PRODUCT,
        sku="TEA-1",
        sku_key="tea-1",
        name="Teekännchen",
        description="Holds\nfour cups.",
        price=Money(amount=Decimal("19.90"), currency="EUR"),
        tax_rate=Decimal("0.19"),
        category="kitchen",
        tags=("tea", "new"),
    ),
    ("product.repriced", 1): ProductRepriced(product_id=PRODUCT, price=Money(amount=Decimal("2500"), currency="JPY")),
    ("product.described", 1): ProductDescribed(
        product_id=PRODUCT, name="Tea pot", description="", category=None, tags=(), tax_rate=Decimal("0.000001")
    ),
    ("product.sku_changed", 1): ProductSkuChanged(product_id=PRODUCT, sku="POT-7", sku_key="pot-7"),
    ("product.image_changed", 1): ProductImageChanged(
        product_id=PRODUCT, image=Image(digest="5f" * 32, content_type="image/webp", size=48_213)
    ),
    ("product.discontinued", 1): ProductDiscontinued(product_id=PRODUCT),
    ("stock.received", 1): StockReceived(product_id=PRODUCT, quantity=10, reason="delivery"),
    ("stock.withdrawn", 1): StockWithdrawn(product_id=PRODUCT, quantity=1, reason="broken"),
    ("stock.reserved", 1): StockReserved(product_id=PRODUCT, order_id=ORDER, quantity=2),
    ("stock.released", 1): StockReleased(product_id=PRODUCT, order_id=ORDER, quantity=2),
    ("stock.sold", 1): StockSold(product_id=PRODUCT, order_id=ORDER, quantity=2),
    ("stock.returned", 1): StockReturned(product_id=PRODUCT, order_id=ORDER, quantity=2),
    ("order.placed", 1): OrderPlaced(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        lines=(TEA_POTS, MUGS),
        subtotal=Money(amount=Decimal("44.80"), currency="EUR"),
        tax=Money(amount=Decimal("7.56"), currency="EUR"),
        total=TOTAL,
        shipping_address=Address(
            name="Ada L.", line1="Markt 1", city="Jena", country="DE", line2=None, postal_code="07743", region=None
        ),
        expires_at=datetime(2026, 11, 22, 12, 30, tzinfo=UTC),
    ),
    ("order.paid", 1): OrderPaid(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        payment_id="pay-1",
        amount=TOTAL,
        lines=(TEA_POTS, MUGS),
    ),
    ("order.payment_failed", 1): OrderPaymentFailed(
        order_id=ORDER, order_no=NUMBER, customer_id=ACCOUNT, payment_id="pay-1"
    ),
    ("order.overpaid", 1): OrderOverpaid(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        payment_id="pay-2",
        amount=TOTAL,
        was=OrderStatus.CANCELLED,
    ),
    ("order.shipped", 1): OrderShipped(
        order_id=ORDER, order_no=NUMBER, customer_id=ACCOUNT, carrier="DHL", tracking_no="JD0001"
    ),
    ("order.completed", 1): OrderCompleted(order_id=ORDER, order_no=NUMBER, customer_id=ACCOUNT),
    ("order.cancelled", 1): OrderCancelled(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        by=CancelledBy.EXPIRY,
        reason=None,
        lines=(TEA_POTS, MUGS),
    ),
    ("order.refunded", 1): OrderRefunded(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        payment_id="pay-1",
        amount=TOTAL,
        reason="broken on arrival",
        was=OrderStatus.SHIPPED,
        lines=(TEA_POTS, MUGS),
    ),
    ("order.money_returned", 1): OrderMoneyReturned(
        order_id=ORDER,
        order_no=NUMBER,
        customer_id=ACCOUNT,
        payment_id="pay-2",
        amount=TOTAL,
        reference="re_01h2x",
    ),
}

SHORTER: Final[Mapping[tuple[str, int], Event]] = {
    ("account.registered", 1): AccountRegistered(
        account_id=ACCOUNT,
        email="Ada@Bücher.example",
        email_key="ada@xn--bcher-kva.example",
        username="Ada",
        username_key="ada",
        roles=(Role.CUSTOMER, Role.ADMIN),
        language=None,
    ),
}
"""What payloads are read as that were stored before a field was added with a default."""
