"""An example for each body that a client sends, as the client would write it."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from pydantic import BaseModel

from api.commands.accounts import RegisterBody, RolesBody
from api.commands.api_keys import MakeApiKeyBody
from api.commands.auth import RefreshBody, TokenForm
from api.commands.me import EraseBody, MyChanges, PasswordBody
from api.commands.orders import AddressBody, CancelBody, ItemBody, OrderBody, ShipBody
from api.commands.payments import PaymentBody
from api.commands.products import ProductChanges, StockBody
from api.commands.recovery import ConfirmBody, ResetBody, VerifyBody
from api.commands.rooms import MemberBody, MessageBody, RoomBody
from api.commands.webhooks.bodies import RegisterWebhookBody, WebhookChanges
from api.examples.story import HOME, NOON, ORDER, PAYMENT, STAFF, TEA_POT, Story
from api.schemas import MoneyBody
from domain.accounts import Role
from infra.schemas.product import NewProduct

EMAIL: Final = "ada@example.org"
PASSWORD: Final = "correct horse battery staple"  # noqa: S105
ANOTHER: Final = "a pot of tea at four"
LINK: Final = "mJ3oT9vXb1qLw8eYc5rKz2"
REFRESH: Final = "4tQ0c8nYx7LrW2mVbZ1eKs"

_PRICE: Final = MoneyBody(amount="19.90", currency="EUR")
_PRODUCT: Final = NewProduct(
    sku="TEA-POT-1",
    name="Tea pot",
    description="Holds four cups.",
    price=_PRICE,
    tax_rate=Decimal("0.19"),
    category="kitchen",
    tags=["tea", "new"],
    stock=24,
)


def bodies() -> Mapping[Any, Any]:
    """By the model."""
    total = Story().placed.total
    address = {name: value for name, value in asdict(HOME).items() if value is not None}
    paid = MoneyBody(amount=str(total.amount), currency=total.currency)
    sent: list[BaseModel] = [
        RegisterBody(email=EMAIL, username="ada", password=PASSWORD),
        RolesBody(roles=[Role.CUSTOMER, Role.STAFF]),
        MakeApiKeyBody(name="nightly backup", scopes=["orders:read"], expires_at=NOON + timedelta(days=365)),
        TokenForm(grant_type="password", username=EMAIL, password=PASSWORD, scope="orders:read orders:write"),
        RefreshBody(refresh_token=REFRESH),
        VerifyBody(token=LINK),
        ResetBody(email=EMAIL),
        ConfirmBody(token=LINK, password=ANOTHER),
        MyChanges(full_name="Ada Lovelace", bio="Drinks tea."),
        PasswordBody(current_password=PASSWORD, new_password=ANOTHER),
        EraseBody(password=PASSWORD),
        _PRODUCT,
        ProductChanges(price=MoneyBody(amount="17.90", currency="EUR"), tags=["tea"]),
        StockBody(change=24, reason="delivery"),
        OrderBody(items=[ItemBody(product_id=TEA_POT, quantity=2)], shipping_address=AddressBody(**address)),
        CancelBody(reason="ordered twice"),
        ShipBody(carrier="DHL", tracking_no="JD014600003SE"),
        PaymentBody(order_id=ORDER, payment_id=PAYMENT, amount=paid, status="succeeded"),
        RoomBody(name="Tea drinkers", topic="What is in the pot"),
        MemberBody(account_id=STAFF),
        MessageBody(text="Green or black?", client_id="c-1"),
        RegisterWebhookBody(
            url="https://warehouse.example.org/events",
            event_types=["order.paid", "order.cancelled"],
            description="what the warehouse has to pack",
        ),
        WebhookChanges(event_types=["order.paid", "order.cancelled", "order.refunded"], active=True),
    ]
    return {type(body): _as_sent(body) for body in sent}


def files() -> Mapping[Any, Any]:
    """Files of products, by their media type."""
    product = _as_sent(_PRODUCT)
    row = {**product, **product["price"], "tags": "|".join(product["tags"])}
    columns = {"sku": "sku", "name": "name", "price": "amount", "currency": "currency"}
    columns |= {name: name for name in ("tax_rate", "category", "tags", "stock")}
    sheet = io.StringIO()
    csv.writer(sheet, lineterminator="\n").writerows([columns, [row[name] for name in columns.values()]])
    return {"text/csv": sheet.getvalue(), "application/x-ndjson": orjson.dumps(product).decode() + "\n"}


def _as_sent(body: BaseModel) -> Any:
    return body.model_dump(mode="json", exclude_unset=True, by_alias=True)
