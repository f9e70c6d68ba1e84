"""The main job, driven through the public HTTP API alone: register, add, order, pay, ship, and read it all back."""

import asyncio
import base64
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx2

STOCK: Final = 50
PIECES: Final = 2
MAIL_SECONDS: Final = 15.0
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


class Failed(Exception):
    """The journey did not go as promised."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that was done. Times in milliseconds; ``readable_ms`` is from the receipt to the document with it."""

    title: str
    detail: str
    position: int | None = None
    took_ms: float | None = None
    readable_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Where the shop is, and the secrets that only its operator knows."""

    api_url: str
    mail_dir: Path
    admin_email: str
    admin_password: str
    webhook_secret: str


class Journey:
    """One customer's order from the first visit to the parcel. Unique names, so that it can be run again."""

    def __init__(self, shop: Shop, client: httpx2.AsyncClient) -> None:
        self._shop = shop
        self._client = client
        self._tag = secrets.token_hex(4)
        self._email = f"customer-{self._tag}@example.com"
        self._password = secrets.token_urlsafe(12)

    async def steps(self) -> AsyncIterator[Step]:
        """Do the whole journey. Raises :class:`Failed` at the first thing that is not as promised."""
        yield await self._register()
        customer = await self._sign_in(f"customer-{self._tag}", self._password)
        admin = await self._sign_in(self._shop.admin_email, self._shop.admin_password)
        yield Step(title="signed in", detail="the customer and the first admin hold access tokens")
        before = await self._head(admin)
        product, step = await self._add_product(admin)
        yield step
        order, step = await self._place_order(customer, product)
        yield step
        yield await self._pay(customer, order)
        yield await self._ship(admin, customer, order["id"])
        yield await self._stock_is_right(product)
        yield await self._mail_came(f"Your order {order['order_no']}")
        yield await self._mail_came(f"Your order {order['order_no']} is on its way")
        async for recorded in self._events(admin, before):
            yield recorded

    async def _register(self) -> Step:
        body = {"email": self._email, "username": f"customer-{self._tag}", "password": self._password}
        receipt, took, _ = await self._write("POST", "/v1/accounts", body)
        return Step(title="account registered", detail=self._email, position=receipt["position"], took_ms=took)

    async def _sign_in(self, username: str, password: str) -> dict[str, str]:
        form = urlencode({"grant_type": "password", "username": username, "password": password})
        answer = await self._client.post("/v1/auth/token", content=form, headers=FORM)
        return {"Authorization": f"Bearer {_json(answer)['access_token']}"}

    async def _add_product(self, admin: Mapping[str, str]) -> tuple[str, Step]:
        body = {
            "sku": f"KETTLE-{self._tag}",
            "name": "Copper kettle",
            "price": {"amount": "39.90", "currency": "EUR"},
            "tax_rate": "0.19",
            "category": "kitchen",
            "tags": ["copper"],
            "stock": STOCK,
        }
        receipt, took, token = await self._write("POST", "/v1/products", body, admin)
        path = f"/v1/products/{receipt['id']}"
        document, readable = await self._read(path, token)
        _expect(document["stock_available"] == STOCK, f"stock_available is {document['stock_available']}")
        detail = f"{document['sku']}, {STOCK} in stock"
        return receipt["id"], _written("product added", detail, receipt, took, readable)

    async def _place_order(self, customer: Mapping[str, str], product: str) -> tuple[dict[str, Any], Step]:
        body = {
            "items": [{"product_id": product, "quantity": PIECES}],
            "shipping_address": {
                "name": "A. Customer", "line1": "1 Harbour Road", "city": "Hamburg", "country": "DE",
            },
        }  # fmt: skip
        receipt, took, token = await self._write("POST", "/v1/orders", body, customer)
        document, readable = await self._read(f"/v1/orders/{receipt['id']}", token, customer)
        _expect(document["status"] == "pending", f"the new order is {document['status']}")
        detail = f"{receipt['order_no']}, {PIECES} pieces, {receipt['total']['amount']} EUR"
        return receipt, _written("order placed", detail, receipt, took, readable)

    async def _pay(self, customer: Mapping[str, str], order: Mapping[str, Any]) -> Step:
        payment = {
            "order_id": order["id"],
            "payment_id": f"pay_{self._tag}",
            "amount": order["total"],
            "status": "succeeded",
        }
        body = json.dumps(payment).encode()
        headers = {"Content-Type": "application/json", **sign(self._shop.webhook_secret, body)}
        started = time.perf_counter()
        answer = await self._client.post("/v1/webhooks/payments", content=body, headers=headers)
        receipt, took = _json(answer), _since(started)
        token = answer.headers["Consistency-Token"]
        document, readable = await self._read(f"/v1/orders/{order['id']}", token, customer)
        _expect(document["status"] == "paid", f"the paid order is {document['status']}")
        return _written("payment arrived", payment["payment_id"], receipt, took, readable)

    async def _ship(self, admin: Mapping[str, str], customer: Mapping[str, str], order_id: str) -> Step:
        body = {"carrier": "Parcel Post", "tracking_no": f"PP{self._tag}"}
        receipt, took, token = await self._write("POST", f"/v1/orders/{order_id}/ship", body, admin)
        document, readable = await self._read(f"/v1/orders/{order_id}", token, customer)
        _expect(document["status"] == "shipped", f"the shipped order is {document['status']}")
        return _written("order shipped", body["tracking_no"], receipt, took, readable)

    async def _stock_is_right(self, product: str) -> Step:
        document, took = await self._read(f"/v1/products/{product}", None)
        left = document["stock_available"]
        _expect(left == STOCK - PIECES, f"{left} pieces are left of {STOCK} less {PIECES}")
        return Step(title="stock read back", detail=f"{left} of {STOCK} left", took_ms=took)

    async def _mail_came(self, subject: str) -> Step:
        started = time.perf_counter()
        while _since(started) < MAIL_SECONDS * 1000:
            for path in sorted(self._shop.mail_dir.glob("*.eml")):
                message = message_from_bytes(path.read_bytes(), policy=policy.default)
                if message["Subject"] == subject and message["To"] == self._email:
                    return Step(title="mail in the box", detail=subject, took_ms=_since(started))
            await asyncio.sleep(0.02)
        raise Failed(f"no mail with the subject {subject!r} came in {MAIL_SECONDS:.0f} s")

    async def _head(self, admin: Mapping[str, str]) -> int:
        """The position before which nothing belongs to the rest of this journey."""
        after, seen = 0, True
        while seen:
            page = _json(await self._client.get(f"/v1/events?after={after}&limit=100", headers=admin))
            seen = bool(page["items"])
            after = page["items"][-1]["position"] if seen else after
        return after

    async def _events(self, admin: Mapping[str, str], after: int) -> AsyncIterator[Step]:
        page = _json(await self._client.get(f"/v1/events?after={after}&limit=100", headers=admin))
        positions = [item["position"] for item in page["items"]]
        _expect(positions == list(range(after + 1, after + 1 + len(positions))), "the log has a hole")
        for item in page["items"]:
            detail = f"{item['category']} {item['stream_id']} version {item['version']}"
            yield Step(title=item["type"], detail=detail, position=item["position"])

    async def _write(
        self, method: str, path: str, body: Mapping[str, Any], who: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], float, str]:
        headers = {**(who or {}), "Idempotency-Key": secrets.token_hex(12)}
        started = time.perf_counter()
        answer = await self._client.request(method, path, json=body, headers=headers)
        return _json(answer), _since(started), answer.headers["Consistency-Token"]

    async def _read(
        self, path: str, token: str | None, who: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], float]:
        headers = {**(who or {}), **({"Consistency-Token": token} if token else {})}
        started = time.perf_counter()
        return _json(await self._client.get(path, headers=headers)), _since(started)


def sign(secret: str, body: bytes) -> dict[str, str]:
    """The headers of a Standard Webhooks message, as the payment provider would send them."""
    message_id, timestamp = f"msg_{secrets.token_hex(8)}", str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}


def _written(title: str, detail: str, receipt: Mapping[str, Any], took: float, readable: float) -> Step:
    return Step(title=title, detail=detail, position=receipt["position"], took_ms=took, readable_ms=readable)


def _json(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code >= 400:
        raise Failed(f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}")
    document: dict[str, Any] = answer.json()
    return document


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
