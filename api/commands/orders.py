"""An order's life: placing it takes stock in the same append, cancelling gives it back."""

from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends
from pydantic import ConfigDict, Field

from api.commands.authority import Acting, acting
from api.commands.dispatcher import CommandDispatcher, Commands
from api.dependencies import ClockDep, CurrentLogDep, SettingsDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Line, MoneyBody, ReceiptDocument
from api.security import require
from api.uuid7 import new_id
from domain.kernel.refusals import AlreadyTaken
from domain.kernel.unit_of_work import UnitOfWork
from domain.orders import (
    MOST_LINES,
    ORDERS,
    Address,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    OrderCommand,
    RefundOrder,
    ShipOrder,
)
from domain.values import MOST_PIECES
from domain.workflows import checkout
from domain.workflows.checkout import Item, NewOrder
from infra.errors import NotFound
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.schemas.forms import Id

routes = router(tags=["orders"])

MANAGE: Final = "orders:manage"
NUMBER_TRIES: Final = 5

Buyer = Annotated[Principal, Depends(require("orders:write"))]
Manager = Annotated[CommandDispatcher, Depends(acting(MANAGE))]


class ItemBody(Body):
    """So many pieces of a product."""

    product_id: Id
    """Which product: one that is on sale."""
    quantity: int = Field(ge=1, le=MOST_PIECES)
    """How many pieces, 1 to 1,000,000."""


class AddressBody(Body):
    """Where the parcel goes. Each line has at most 200 characters."""

    name: Line
    """Who takes the parcel."""
    line1: Line
    """Street and number, or what stands for them."""
    city: Line
    """The city."""
    country: str = Field(pattern=r"^[A-Z]{2}$")
    """The country by its two letters (ISO 3166-1 alpha-2): `DE`."""
    line2: Line | None = None
    """A second line, such as the floor."""
    postal_code: Line | None = None
    """The postal code, where there is one."""
    region: Line | None = None
    """The state or province, where an address needs it."""


class OrderBody(Body):
    """What is ordered; each product once."""

    items: list[ItemBody] = Field(min_length=1, max_length=MOST_LINES)
    """1 to 100 products, all of them priced in one currency."""
    shipping_address: AddressBody | None = None
    """Where the parcel goes."""


class CancelBody(Body):
    """Why; for the order's history."""

    reason: Annotated[str, Field(max_length=500)] | None = None
    """At most 500 characters, kept in the order's history."""


class ShipBody(Body):
    """Who carries the parcel, and its number there."""

    carrier: Line
    """Who carries the parcel, 1 to 200 characters."""
    tracking_no: Line
    """The parcel's number there, 1 to 200 characters."""


class OrderReceipt(ReceiptDocument):
    """The receipt of an order that was placed, with what its payment needs."""

    model_config = ConfigDict(title="OrderReceipt")

    order_no: str
    """The order's number for people."""
    total: MoneyBody
    """What has to be paid: subtotal and tax."""
    expires_at: datetime
    """When the order is cancelled, unless it is paid by then."""


@routes.post("/v1/orders", status_code=201, response_model=OrderReceipt)
@limited("write")
@refuses(
    "unknown-product",
    "not-for-sale",
    "out-of-stock",
    "duplicate-item",
    "mixed-currencies",
    "too-many-unpaid-orders",
    "too-many-unpaid-pieces",
    "invalid-amount",
    "invalid-value",
)
async def place_order(
    body: OrderBody,
    commands: Commands,
    buyer: Buyer,
    settings: SettingsDep,
    clock: ClockDep,
) -> Receipt:
    """Place an order and take its stock, all or nothing. An item that is short is named, and nothing is reserved."""
    # By the clock that will find the order's time over, and no other.
    now = await clock.now()
    expires_at = now + timedelta(minutes=settings.order_payment_minutes)
    for _ in range(NUMBER_TRIES):
        try:
            return await _place(body, commands, buyer.id, now, expires_at)
        except AlreadyTaken:
            # Two orders drew the same number. It is drawn from the id: take another id.
            continue
    raise AlreadyTaken("no free order number was found")


async def _place(
    body: OrderBody, commands: CommandDispatcher, customer_id: UUID, now: datetime, expires_at: datetime
) -> Receipt:
    new = NewOrder(
        order_id=new_id(),
        customer_id=customer_id,
        items=[Item(item.product_id, item.quantity) for item in body.items],
        placed_at=now,
        expires_at=expires_at,
        shipping_address=Address(**body.shipping_address.model_dump()) if body.shipping_address else None,
    )

    def decide(work: UnitOfWork) -> None:
        placed = checkout.place_order(work, new)
        total = {"amount": str(placed.total.amount), "currency": placed.total.currency}
        work.answer = {"order_no": placed.order_no, "total": total, "expires_at": _rfc3339(expires_at)}

    return await commands.run(new.streams, decide, new=1, location=_location)


@routes.post("/v1/orders/{order_id}/cancel")
@limited("write")
@refuses("order-not-open", "invalid-value")
async def cancel_order(
    order_id: UUID, commands: Commands, buyer: Buyer, log: CurrentLogDep, body: CancelBody | None = None
) -> Receipt:
    """Cancel an order that waits for its payment; its stock is free again."""
    staff = MANAGE in buyer.scopes
    if staff:
        commands = commands.acting(Acting(principal=buyer, needs=frozenset({MANAGE}), log=log))
    command = CancelOrder(by=CancelledBy.STAFF if staff else CancelledBy.CUSTOMER, reason=body.reason if body else None)
    return await change_order(commands, order_id, command, owner=None if staff else buyer.id)


@routes.post("/v1/orders/{order_id}/ship")
@limited("write")
@refuses("order-not-paid", "invalid-value")
async def ship_order(order_id: UUID, body: ShipBody, commands: Manager) -> Receipt:
    """The parcel is with the carrier."""
    return await commands.handle((ORDERS, order_id), ShipOrder(carrier=body.carrier, tracking_no=body.tracking_no))


@routes.post("/v1/orders/{order_id}/complete")
@limited("write")
@refuses("order-not-shipped")
async def complete_order(order_id: UUID, commands: Manager) -> Receipt:
    """The parcel has arrived."""
    return await commands.handle((ORDERS, order_id), CompleteOrder())


@routes.post("/v1/orders/{order_id}/refund")
@limited("write")
@refuses("order-not-paid", "invalid-value")
async def refund_order(order_id: UUID, commands: Manager, body: CancelBody | None = None) -> Receipt:
    """Give the money back; pieces that have not left the house are free again."""
    return await change_order(commands, order_id, RefundOrder(reason=body.reason if body else None))


async def change_order(
    commands: CommandDispatcher, order_id: UUID, command: OrderCommand, *, owner: UUID | None = None
) -> Receipt:
    """A command on an order together with what it moves in the stock. Another ``owner``'s order is not found."""
    order = await commands.handler.read_cached(ORDERS, order_id)
    if order is None or (owner is not None and order.customer_id != owner):
        raise NotFound
    return await commands.run(*checkout.change_order(order_id, order, command))


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _location(outcome: CommandOutcome) -> str:
    return f"/v1/orders/{outcome.id}"
