"""What a customer does in the shop, and the payment provider on the customer's behalf."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

from cli.demo.visit import Mailbox, Shop, Step, Visitor, Written, expect
from infra.payments.webhook_signature import sign

PIECES: Final = 2
_ADDRESS: Final = {"name": "A. Customer", "line1": "1 Harbour Road", "city": "Hamburg", "country": "DE"}


class Customer:
    """One customer, with a name that nobody has, so that the journey can be made again."""

    def __init__(self, shop: Shop, http: httpx2.AsyncClient, tag: str) -> None:
        self._shop = shop
        self._visitor = Visitor(http)
        self._provider = Visitor(http)
        self._name = f"customer-{tag}"
        self._email = f"{self._name}@example.com"
        self._password = secrets.token_urlsafe(12)
        self.mailbox = Mailbox(shop.mail_dir, self._email)
        self.token = ""
        """Of the last write: what is read with it is no older."""

    async def register(self) -> Step:
        """Makes the account."""
        body = {"email": self._email, "username": self._name, "password": self._password}
        return (await self._visitor.write("POST", "/v1/accounts", body)).step("account registered", self._email)

    async def confirm_address(self) -> AsyncIterator[Step]:
        """Follows the link in the first mail."""
        subject = "Please confirm your address"
        yield await self.mailbox.came(subject)
        token = await self.mailbox.link_token(subject)
        verified = await self._visitor.write("POST", "/v1/auth/verify-email", {"token": token})
        await self._visitor.sign_in(self._name, self._password)
        document, readable = await self._visitor.read("/v1/me", verified.token)
        expect(document["email_verified"], "the address is not verified")
        yield verified.step("address verified", "by the link, which works once", readable)

    async def find(self, words: str, product: str, token: str) -> Step:
        """Searches the catalogue, as it is with the write of this token in it."""
        found, took = await self._visitor.read(f"/v1/products?{urlencode({'q': words, 'in_stock': 'true'})}", token)
        expect(product in [item["id"] for item in found["items"]], f"the search for {words!r} does not find {product}")
        return Step(title="product found", detail=f"by searching for {words!r}", took_ms=took)

    async def place_order(self, product: str) -> tuple[dict[str, Any], Step]:
        """Orders :data:`PIECES` of a product."""
        body = {"items": [{"product_id": product, "quantity": PIECES}], "shipping_address": _ADDRESS}
        placed = await self._visitor.write("POST", "/v1/orders", body)
        order = placed.receipt
        readable = await self.sees(order["id"], "pending", placed.token)
        detail = f"{order['order_no']}, {PIECES} pieces, {order['total']['amount']} EUR"
        return order, placed.step("order placed", detail, readable)

    async def pay(self, order: Mapping[str, Any]) -> Step:
        """Has the provider tell the shop that the money came."""
        paid, payment_id = await self._money_came(order)
        return paid.step("payment arrived", payment_id, await self.sees(order["id"], "paid", paid.token))

    async def pay_too_late(self, order: Mapping[str, Any]) -> Step:
        """The same for an order that is cancelled: the money is not kept."""
        paid, payment_id = await self._money_came(order)
        return paid.step("payment too late", payment_id, await self.sees(order["id"], "cancelled", paid.token))

    async def _money_came(self, order: Mapping[str, Any]) -> tuple[Written, str]:
        """Signed with the secret that the provider and the shop know."""
        payment_id = f"pay_{order['id']}"
        payment = {"order_id": order["id"], "payment_id": payment_id, "amount": order["total"], "status": "succeeded"}
        body = json.dumps(payment).encode()
        headers = {"Content-Type": "application/json", **sign(self._shop.webhook_secret, body)}
        return await self._provider.send("POST", "/v1/webhooks/payments", body, headers), payment_id

    async def cancel(self, order: Mapping[str, Any]) -> Step:
        """Thinks better of it."""
        cancelled = await self._visitor.write("POST", f"/v1/orders/{order['id']}/cancel", {"reason": "changed my mind"})
        readable = await self.sees(order["id"], "cancelled", cancelled.token)
        return cancelled.step("order cancelled", order["order_no"], readable)

    async def sees(self, order_id: str, status: str, token: str) -> float:
        """Reads an order back; the milliseconds that took."""
        self.token = token
        document, readable = await self._visitor.read(f"/v1/orders/{order_id}", token)
        expect(document["status"] == status, f"the order is {document['status']} and not {status}")
        return readable

    async def looks_back(self, order: Mapping[str, Any]) -> AsyncIterator[Step]:
        """What happened to an order, and what it was like when it was paid."""
        path = f"/v1/orders/{order['id']}"
        history, took = await self._visitor.read(f"{path}/history")
        told = [happening["type"] for happening in history["items"]]
        expect(told[-1] == "order.completed", f"the history ends with {told[-1]}")
        yield Step(title="history read", detail=" → ".join(kind.partition(".")[2] for kind in told), took_ms=took)
        then, took = await self._visitor.read(f"{path}?as_of=2")
        expect(then["status"] == "paid", f"as of version 2 the order was {then['status']}")
        yield Step(title="order as of version 2", detail=f"it was {then['status']}", took_ms=took)
