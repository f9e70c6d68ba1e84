"""What the staff does: the goods, the parcels, the money, and a look at the figures."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Any, Final

import httpx2
from PIL import Image

from cli.demo.customer import Customer
from cli.demo.goods import IMPORTED, WRONG_LINE, picture, products
from cli.demo.visit import Shop, Step, Visitor, eventually, expect, since

STOCK: Final = 50
IMPORT_SECONDS: Final = 30.0
MONEY_SECONDS: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the dashboard says of orders and money."""

    orders: Mapping[str, int]
    revenue: Decimal


class Staff:
    """The first admin."""

    def __init__(self, shop: Shop, http: httpx2.AsyncClient, tag: str) -> None:
        self._shop = shop
        self._visitor = Visitor(http)
        self._tag = tag

    async def sign_in(self) -> Step:
        """As the operator has told."""
        await self._visitor.sign_in(self._shop.admin_email, self._shop.admin_password)
        return Step(title="signed in", detail="the customer and the first admin hold access tokens")

    async def add_product(self) -> tuple[str, str, Step]:
        """Puts a product on sale; answers its id and the token of the write."""
        body = {
            "sku": f"KETTLE-{self._tag}",
            "name": f"Copper kettle {self._tag}",
            "price": {"amount": "39.90", "currency": "EUR"},
            "tax_rate": "0.19",
            "category": "kitchen",
            "tags": ["copper"],
            "stock": STOCK,
        }
        added = await self._visitor.write("POST", "/v1/products", body)
        product: str = added.receipt["id"]
        readable = await self._left(product, STOCK, added.token)
        return product, added.token, added.step("product added", f"{body['sku']}, {STOCK} in stock", readable)

    async def show(self, product: str) -> Step:
        """Shows the product by a picture."""
        path, image, content = f"/v1/products/{product}/image", picture(), BytesIO()
        image.save(content, "PNG")
        headers = {"Content-Type": "image/png", "Idempotency-Key": f"picture-{self._tag}"}
        shown = await self._visitor.send("PUT", path, content.getvalue(), headers)
        document, readable = await self._visitor.read(f"/v1/products/{product}", shown.token)
        served, _ = await self._visitor.fetch(document["image_url"])
        expect(Image.open(BytesIO(served)).tobytes() == image.tobytes(), "the picture is not the one that was sent")
        return shown.step("picture shown", f"{len(served)} bytes, the pixels that were sent", readable)

    async def import_products(self) -> Step:
        """Has a file of products taken in, in which one line is wrong."""
        headers = {"Content-Type": "text/csv", "Idempotency-Key": f"import-{self._tag}"}
        begun = await self._visitor.send("POST", "/v1/products/import", products(self._tag), headers)
        state: dict[str, Any] = {}

        async def finished() -> bool:
            state.update((await self._visitor.read(f"/v1/imports/{begun.receipt['id']}"))[0])
            return state["state"] in ("finished", "failed")

        took = await eventually(finished, IMPORT_SECONDS, "the import has not ended")
        lines = [error["line"] for error in state["errors"]]
        expect((state["done"], lines) == (IMPORTED - 1, [WRONG_LINE]), f"the import ended so: {state}")
        detail = f"{state['done']} of {state['total']}, and line {WRONG_LINE} refused: {state['errors'][0]['code']}"
        return Step(title="products imported", detail=detail, took_ms=took)

    async def counts(self, product: str, left: int, token: str) -> Step:
        """Sees how many pieces are left."""
        took = await self._left(product, left, token)
        return Step(title="stock read back", detail=f"{left} of {STOCK} left", took_ms=took)

    async def ship(self, customer: Customer, order: Mapping[str, Any]) -> Step:
        """Hands the parcel over."""
        body = {"carrier": "Parcel Post", "tracking_no": f"PP{self._tag}"}
        shipped = await self._visitor.write("POST", f"/v1/orders/{order['id']}/ship", body)
        readable = await customer.sees(order["id"], "shipped", shipped.token)
        return shipped.step("order shipped", body["tracking_no"], readable)

    async def complete(self, customer: Customer, order: Mapping[str, Any]) -> Step:
        """Has heard that the parcel arrived."""
        done = await self._visitor.write("POST", f"/v1/orders/{order['id']}/complete")
        return done.step("parcel arrived", order["order_no"], await customer.sees(order["id"], "done", done.token))

    async def refund(self, customer: Customer, order: Mapping[str, Any]) -> Step:
        """Gives the money back."""
        body = {"reason": "it was the last one, and it had a dent"}
        refunded = await self._visitor.write("POST", f"/v1/orders/{order['id']}/refund", body)
        readable = await customer.sees(order["id"], "refunded", refunded.token)
        return refunded.step("order refunded", order["order_no"], readable)

    async def sees_money_back(self, order: Mapping[str, Any]) -> Step:
        """Waits until the payment provider has given the money back and the order tells of it."""

        async def told() -> bool:
            history, _ = await self._visitor.read(f"/v1/orders/{order['id']}/history")
            return "order.money_returned" in [happening["type"] for happening in history["items"]]

        took = await eventually(told, MONEY_SECONDS, "the money did not go back")
        return Step(title="money went back", detail=f"the payment provider says so, {order['order_no']}", took_ms=took)

    async def figures(self, token: str | None = None) -> Figures:
        """The dashboard."""
        document, _ = await self._visitor.read("/v1/dashboard", token)
        days = document["revenue_by_day"]
        revenue = sum((Decimal(day["revenue"]["amount"]) for day in days), Decimal(0))
        return Figures(orders=document["orders_by_status"], revenue=revenue)

    async def compares(self, before: Figures, sold: Mapping[str, Any], token: str) -> Step:
        """Sees that the figures have moved by just what happened: one order done, one cancelled, one refunded."""
        started = time.perf_counter()
        now = await self.figures(token)
        moved = {status: now.orders[status] - before.orders[status] for status in now.orders}
        expect({status for status, by in moved.items() if by} == {"done", "cancelled", "refunded"}, f"moved: {moved}")
        revenue = now.revenue - before.revenue
        expect(revenue == Decimal(sold["total"]["amount"]), f"the revenue moved by {revenue}")
        return Step(title="dashboard exact", detail=f"revenue +{revenue} EUR, to the cent", took_ms=since(started))

    async def events(self, order: Mapping[str, Any]) -> AsyncIterator[Step]:
        """What the log has kept of an order."""
        page, _ = await self._visitor.read(f"/v1/streams/{order['id']}/events")
        versions = [item["version"] for item in page["items"]]
        expect(versions == list(range(1, len(versions) + 1)), "the stream has a hole")
        for item in page["items"]:
            detail = f"{order['order_no']} version {item['version']}"
            yield Step(title=item["type"], detail=detail, position=item["position"])

    async def _left(self, product: str, pieces: int, token: str) -> float:
        document, took = await self._visitor.read(f"/v1/products/{product}", token)
        left = document["stock_available"]
        expect(left == pieces, f"{left} pieces are left where there should be {pieces}")
        return took
