"""A shop with goods and a customer, set up through Weir's public API, for the measures that talk HTTP to it."""

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from benchmarks.failure import Failed
from benchmarks.load import workload
from benchmarks.load.http_client import Client, request

ADMIN_EMAIL = "admin@bench.example"
ADMIN_PASSWORD = "a long enough pass phrase"
_CUSTOMER_EMAIL = "customer@bench.example"
STOCK = 1_000_000
_HANDS = 8


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What a customer needs: where to send, a token, and what there is to buy."""

    port: int
    token: str
    products: Sequence[UUID]

    def order(self, basket: Sequence[UUID], key: str) -> bytes:
        """A request that places an order for one piece of each product."""
        body = json.dumps({"items": [{"product_id": str(product_id), "quantity": 1} for product_id in basket]})
        return request("POST", "/v1/orders", self.headers | {"Idempotency-Key": key} | JSON, body.encode())

    @property
    def headers(self) -> dict[str, str]:
        """The customer's credentials."""
        return {"Authorization": f"Bearer {self.token}"}


async def stocked(port: int) -> Shop:
    """Put the catalogue on sale and sign a customer in. Raises :class:`Failed`."""
    staff = await signed_in(port)
    products = list(workload.product_ids())
    shares = [products[hand::_HANDS] for hand in range(_HANDS)]
    made = await asyncio.gather(*[add_products(port, staff, share) for share in shares])
    return Shop(port=port, token=await customer(port), products=[product_id for share in made for product_id in share])


async def signed_in(port: int) -> str:
    """The staff's token."""
    return await token_of(port, ADMIN_EMAIL, ADMIN_PASSWORD)


async def customer(port: int) -> str:
    """The token of the one customer there is, who registers first."""
    account = {"email": _CUSTOMER_EMAIL, "username": "customer", "password": ADMIN_PASSWORD}
    client = await Client.connect("127.0.0.1", port)
    try:
        await asked(client, 201, "POST", "/v1/accounts", JSON, json.dumps(account).encode())
    finally:
        client.close()
    return await signed_in_again(port)


async def signed_in_again(port: int) -> str:
    """Another token of the customer, who has registered."""
    return await token_of(port, _CUSTOMER_EMAIL, ADMIN_PASSWORD)


def account_of(token: str) -> UUID:
    """Whose token it is."""
    payload = token.split(".")[1]
    return UUID(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])


JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def token_of(port: int, name: str, password: str) -> str:
    """The token that an account is given. Raises :class:`Failed`."""
    form = urlencode({"grant_type": "password", "username": name, "password": password})
    client = await Client.connect("127.0.0.1", port)
    try:
        answer = await asked(client, 200, "POST", "/v1/auth/token", _FORM, form.encode())
    finally:
        client.close()
    token: str = answer["access_token"]
    return token


async def add_products(port: int, token: str, numbers: Sequence[UUID], *, stock: int = STOCK) -> list[UUID]:
    """Products of these numbers, so many pieces of each, by the staff's token. Answers their ids in the shop."""
    client = await Client.connect("127.0.0.1", port)
    headers = JSON | {"Authorization": f"Bearer {token}"}
    try:
        made = []
        for number in numbers:
            body = json.dumps(_product(number) | {"stock": stock}).encode()
            made.append(UUID((await asked(client, 201, "POST", "/v1/products", headers, body))["id"]))
        return made
    finally:
        client.close()


def _product(number: UUID) -> dict[str, Any]:
    document = workload.product(number)
    told = ("sku", "name", "description", "price", "tax_rate", "category", "tags")
    return {name: document[name] for name in told}


async def asked(
    client: Client, expected: int, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """The document of an answer of that status. Raises :class:`Failed`."""
    status, _, answer = await client.ask(request(method, path, dict(headers), body))
    if status != expected:
        raise Failed(f"{method} {path} answered {status}: {answer.decode()[:500]}")
    document: dict[str, Any] = json.loads(answer)
    return document
