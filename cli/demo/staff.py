"""What the staff does: the goods, the parcels, the money, and a look at the figures."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Final
from uuid import UUID

from PIL import Image
from weir_client import AuthenticatedClient
from weir_client.api.catalogue import add_product, change_product_image, import_products, read_import, read_product
from weir_client.api.dashboard import read_dashboard
from weir_client.api.events import list_stream_events
from weir_client.api.orders import complete_order, read_order_history, refund_order, ship_order
from weir_client.models import (
    CancelBody,
    Dashboard,
    EventDocumentPage,
    Import,
    ImportReceipt,
    ImportState,
    MoneyBody,
    NewProduct,
    OrderHistoryEntryPage,
    OrderReceipt,
    OrderStatus,
    ProductCard,
    Receipt,
    ShipBody,
)
from weir_client.types import UNSET, File, Unset

from cli.demo.calls import Answer, Clients, fetched, fresh_key, step_of, told
from cli.demo.customer import Customer
from cli.demo.goods import IMPORTED, WRONG_LINE, picture, products
from cli.demo.visit import PATIENCE_SECONDS, Shop, Step, eventually, expect, since

STOCK: Final = 50


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the dashboard says of orders and money."""

    orders: Mapping[str, int]
    revenue: Decimal


class Staff:
    """The first admin."""

    def __init__(self, shop: Shop, clients: Clients, tag: str) -> None:
        self._shop = shop
        self._clients = clients
        self._tag = tag
        self.client: AuthenticatedClient
        """From :meth:`sign_in` on."""

    async def sign_in(self) -> Step:
        """As the operator has told."""
        self.client = await self._clients.signed_in(self._shop.admin_email, self._shop.admin_password)
        return Step(title="signed in", detail="the customer and the first admin hold access tokens")

    async def add_product(self) -> tuple[UUID, str, Step]:
        """Puts a product on sale; answers its id and the token of the write."""
        body = NewProduct(
            sku=f"KETTLE-{self._tag}",
            name=f"Copper kettle {self._tag}",
            price=MoneyBody(amount="39.90", currency="EUR"),
            tax_rate="0.19",
            category="kitchen",
            tags=["copper"],
            stock=STOCK,
        )
        call = add_product.asyncio_detailed(client=self.client, body=body, idempotency_key=fresh_key())
        added = await told(Receipt, call)
        product = added.document.id
        readable = await self._left(product, STOCK, added.token)
        return product, added.token, step_of(added, "product added", f"{body.sku}, {STOCK} in stock", readable)

    async def show(self, product: UUID) -> Step:
        """Shows the product by a picture."""
        image, content = picture(), BytesIO()
        image.save(content, "PNG")
        content.seek(0)
        key = f"picture-{self._tag}"
        # What is read from a file is not sent by the loop: the client's other form of the call reads it in a thread.
        call = asyncio.to_thread(
            change_product_image.sync_detailed,
            product,
            client=self.client,
            body=File(payload=content),
            idempotency_key=key,
        )
        shown = await told(Receipt, call)
        card = await self._product(product, shown.token)
        served = await fetched(self.client, str(card.document.image_url))
        expect(Image.open(BytesIO(served)).tobytes() == image.tobytes(), "the picture is not the one that was sent")
        return step_of(shown, "picture shown", f"{len(served)} bytes, the pixels that were sent", card.took_ms)

    async def import_products(self) -> Step:
        """Has a file of products taken in, in which one line is wrong."""
        sheet, key = File(payload=BytesIO(products(self._tag))), f"import-{self._tag}"
        call = asyncio.to_thread(import_products.sync_detailed, client=self.client, body=sheet, idempotency_key=key)
        begun = await told(ImportReceipt, call)
        states: list[Import] = []

        async def finished() -> bool:
            reading = read_import.asyncio_detailed(begun.document.id, client=self.client)
            states.append((await told(Import, reading)).document)
            return states[-1].state in (ImportState.FINISHED, ImportState.FAILED)

        took = await eventually(finished, PATIENCE_SECONDS, "the import has not ended")
        end = states[-1]
        lines = [error.line for error in end.errors]
        expect((end.done, lines) == (IMPORTED - 1, [WRONG_LINE]), f"the import ended so: {end}")
        detail = f"{end.done} of {end.total}, and line {WRONG_LINE} refused: {end.errors[0].code}"
        return Step(title="products imported", detail=detail, took_ms=took)

    async def counts(self, product: UUID, left: int, token: str) -> Step:
        """Sees how many pieces are left."""
        took = await self._left(product, left, token)
        return Step(title="stock read back", detail=f"{left} of {STOCK} left", took_ms=took)

    async def ship(self, customer: Customer, order: OrderReceipt) -> Step:
        """Hands the parcel over."""
        body = ShipBody(carrier="Parcel Post", tracking_no=f"PP{self._tag}")
        call = ship_order.asyncio_detailed(order.id, client=self.client, body=body, idempotency_key=fresh_key())
        shipped = await told(Receipt, call)
        readable = await customer.sees(order, OrderStatus.SHIPPED, shipped.token)
        return step_of(shipped, "order shipped", body.tracking_no, readable)

    async def complete(self, customer: Customer, order: OrderReceipt) -> Step:
        """Has heard that the parcel arrived."""
        call = complete_order.asyncio_detailed(order.id, client=self.client, idempotency_key=fresh_key())
        done = await told(Receipt, call)
        readable = await customer.sees(order, OrderStatus.DONE, done.token)
        return step_of(done, "parcel arrived", order.order_no, readable)

    async def refund(self, customer: Customer, order: OrderReceipt) -> Step:
        """Gives the money back."""
        body = CancelBody(reason="it was the last one, and it had a dent")
        call = refund_order.asyncio_detailed(order.id, client=self.client, body=body, idempotency_key=fresh_key())
        refunded = await told(Receipt, call)
        readable = await customer.sees(order, OrderStatus.REFUNDED, refunded.token)
        return step_of(refunded, "order refunded", order.order_no, readable)

    async def sees_money_back(self, order: OrderReceipt) -> Step:
        """Waits until the payment provider has given the money back and the order tells of it."""

        async def returned() -> bool:
            reading = read_order_history.asyncio_detailed(order.id, client=self.client)
            history = await told(OrderHistoryEntryPage, reading)
            return "order.money_returned" in [happening.type_ for happening in history.document.items]

        took = await eventually(returned, PATIENCE_SECONDS, "the money did not go back")
        return Step(title="money went back", detail=f"the payment provider says so, {order.order_no}", took_ms=took)

    async def figures(self, token: str | Unset = UNSET) -> Figures:
        """The dashboard."""
        reading = read_dashboard.asyncio_detailed(client=self.client, consistency_token=token)
        document = (await told(Dashboard, reading)).document
        revenue = sum((Decimal(day.revenue.amount) for day in document.revenue_by_day), Decimal(0))
        return Figures(orders=document.orders_by_status.additional_properties, revenue=revenue)

    async def compares(self, before: Figures, sold: OrderReceipt, token: str) -> Step:
        """Sees that the figures have moved by just what happened: one order done, one cancelled, one refunded."""
        started = time.perf_counter()
        now = await self.figures(token)
        moved = {status: now.orders[status] - before.orders[status] for status in now.orders}
        expect({status for status, by in moved.items() if by} == {"done", "cancelled", "refunded"}, f"moved: {moved}")
        revenue = now.revenue - before.revenue
        expect(revenue == Decimal(sold.total.amount), f"the revenue moved by {revenue}")
        return Step(title="dashboard exact", detail=f"revenue +{revenue} EUR, to the cent", took_ms=since(started))

    async def events(self, order: OrderReceipt) -> AsyncIterator[Step]:
        """What the log has kept of an order."""
        page = await told(EventDocumentPage, list_stream_events.asyncio_detailed(order.id, client=self.client))
        versions = [event.version for event in page.document.items]
        expect(versions == list(range(1, len(versions) + 1)), "the stream has a hole")
        for event in page.document.items:
            detail = f"{order.order_no} version {event.version}"
            yield Step(title=event.type_, detail=detail, position=event.position)

    async def _left(self, product: UUID, pieces: int, token: str) -> float:
        card = await self._product(product, token)
        left = card.document.stock_available
        expect(left == pieces, f"{left} pieces are left where there should be {pieces}")
        return card.took_ms

    async def _product(self, product: UUID, token: str) -> Answer[ProductCard]:
        call = read_product.asyncio_detailed(product, client=self.client, consistency_token=token)
        return await told(ProductCard, call)
