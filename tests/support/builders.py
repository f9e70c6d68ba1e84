"""Valid things with fixed ids; each takes overrides, so that a test says only what it is about."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from domain.accounts import AccountRegistered, RegisterAccount, Role
from domain.catalogue import AddProduct, ProductAdded
from domain.inventory import ReserveStock, StockReceived
from domain.money import Money
from domain.orders import (
    Address,
    CancelledBy,
    OrderCancelled,
    OrderCompleted,
    OrderLine,
    OrderMoneyReturned,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStatus,
    PayOrder,
    PlaceOrder,
    ShipOrder,
    totals,
)

ACCOUNT_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
PRODUCT_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
OTHER_PRODUCT_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a8059")
ORDER_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a805a")
OTHER_ORDER_ID: Final = UUID("01890a5d-ac96-774b-bcce-b302099a805b")
ORDER_NO: Final = "W-2026-7K3M9QXA"
EXPIRES_AT: Final = datetime(2096, 11, 22, 12, 30, tzinfo=UTC)
"""Far ahead: a worker that runs in a test goes by the true time, and must not find that the order has expired."""


def euros(amount: str) -> Money:
    """``euros("19.90")``."""
    return Money.parse(amount, "EUR")


def register_account(**changes: Any) -> RegisterAccount:
    """Ada registers."""
    return replace(RegisterAccount(account_id=ACCOUNT_ID, email="Ada@Example.org", username="Ada"), **changes)


def account_registered(**changes: Any) -> AccountRegistered:
    """Ada has registered."""
    event = AccountRegistered(
        account_id=ACCOUNT_ID,
        email="Ada@Example.org",
        email_key="ada@example.org",
        username="Ada",
        username_key="ada",
        roles=(Role.CUSTOMER,),
    )
    return replace(event, **changes)


def add_product(**changes: Any) -> AddProduct:
    """A tea pot for 19.90 EUR."""
    command = AddProduct(
        product_id=PRODUCT_ID,
        sku="TEA-1",
        name="Tea pot",
        description="Holds four cups.",
        price=euros("19.90"),
        tax_rate=Decimal("0.19"),
        category="kitchen",
        tags=("tea", "new"),
    )
    return replace(command, **changes)


def product_added(**changes: Any) -> ProductAdded:
    """The tea pot is on sale."""
    event = ProductAdded(
        product_id=PRODUCT_ID,
        sku="TEA-1",
        sku_key="tea-1",
        name="Tea pot",
        description="Holds four cups.",
        price=euros("19.90"),
        tax_rate=Decimal("0.19"),
        category="kitchen",
        tags=("tea", "new"),
    )
    return replace(event, **changes)


def stock_received(quantity: int = 10, **changes: Any) -> StockReceived:
    """Tea pots came in."""
    return replace(StockReceived(product_id=PRODUCT_ID, quantity=quantity, reason="delivery"), **changes)


def reserve_stock(quantity: int = 1, **changes: Any) -> ReserveStock:
    """An order wants tea pots."""
    return replace(ReserveStock(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=quantity), **changes)


def order_line(**changes: Any) -> OrderLine:
    """Two tea pots."""
    line = OrderLine(
        product_id=PRODUCT_ID,
        sku="TEA-1",
        name="Tea pot",
        quantity=2,
        unit_price=euros("19.90"),
        tax_rate=Decimal("0.19"),
    )
    return replace(line, **changes)


def address(**changes: Any) -> Address:
    """A place in Jena."""
    home = Address(name="Ada L.", line1="Markt 1", city="Jena", postal_code="07743", country="DE")
    return replace(home, **changes)


def place_order(**changes: Any) -> PlaceOrder:
    """Ada orders two tea pots."""
    command = PlaceOrder(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        lines=(order_line(),),
        expires_at=EXPIRES_AT,
        shipping_address=address(),
    )
    return replace(command, **changes)


def order_placed(**changes: Any) -> OrderPlaced:
    """Ada has ordered; the sums are those of the lines."""
    lines = changes.get("lines", (order_line(),))
    sums = totals(lines)
    event = OrderPlaced(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        lines=lines,
        subtotal=sums.subtotal,
        tax=sums.tax,
        total=sums.total,
        shipping_address=address(),
        expires_at=EXPIRES_AT,
    )
    return replace(event, **changes)


def pay_order(**changes: Any) -> PayOrder:
    """Ada pays what the order costs."""
    return replace(PayOrder(payment_id="pay-1", amount=order_placed().total), **changes)


def order_paid(**changes: Any) -> OrderPaid:
    """Ada has paid."""
    event = OrderPaid(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        payment_id="pay-1",
        amount=order_placed().total,
        lines=(order_line(),),
    )
    return replace(event, **changes)


def ship_order(**changes: Any) -> ShipOrder:
    """The parcel goes out."""
    return replace(ShipOrder(carrier="DHL", tracking_no="JD0001"), **changes)


def order_shipped(**changes: Any) -> OrderShipped:
    """The parcel is out."""
    event = OrderShipped(
        order_id=ORDER_ID, order_no=ORDER_NO, customer_id=ACCOUNT_ID, carrier="DHL", tracking_no="JD0001"
    )
    return replace(event, **changes)


def order_completed(**changes: Any) -> OrderCompleted:
    """Ada has her tea pots."""
    return replace(OrderCompleted(order_id=ORDER_ID, order_no=ORDER_NO, customer_id=ACCOUNT_ID), **changes)


def order_cancelled(**changes: Any) -> OrderCancelled:
    """Ada does not want them."""
    event = OrderCancelled(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        by=CancelledBy.CUSTOMER,
        reason=None,
        lines=(order_line(),),
    )
    return replace(event, **changes)


def order_refunded(**changes: Any) -> OrderRefunded:
    """Ada gets her money back before the parcel went out."""
    event = OrderRefunded(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        payment_id="pay-1",
        amount=order_placed().total,
        reason=None,
        was=OrderStatus.PAID,
        lines=(order_line(),),
    )
    return replace(event, **changes)


def order_money_returned(**changes: Any) -> OrderMoneyReturned:
    """Ada has her money back."""
    event = OrderMoneyReturned(
        order_id=ORDER_ID,
        order_no=ORDER_NO,
        customer_id=ACCOUNT_ID,
        payment_id="pay-1",
        amount=order_placed().total,
        reference="re_1",
    )
    return replace(event, **changes)
