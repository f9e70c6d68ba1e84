"""An id of another kind of thing: a stream that is there, but not one that the route is about."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID

import pytest

from domain.accounts import Role
from domain.inventory import INVENTORY
from infra.payments.webhook_signature import sign
from infra.settings import Settings
from tests.support.shop import SECRET, Client, Shop, shop

pytestmark = pytest.mark.anyio

BODIES: Mapping[tuple[str, str], Any] = {
    ("PATCH", "/v1/products/{product_id}"): {"name": "Kettle"},
    ("POST", "/v1/products/{product_id}/stock"): {"change": 5, "reason": "count"},
    ("PUT", "/v1/accounts/{account_id}/roles"): {"roles": ["customer"]},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"active": False},
    ("POST", "/v1/orders/{order_id}/ship"): {"carrier": "DHL", "tracking_no": "1"},
    ("POST", "/v1/rooms/{room_id}/messages"): {"text": "hello"},
}
"""What a route needs beside the id, where it needs anything."""

LEADS_ELSEWHERE = {
    ("PUT", "/v1/products/{product_id}/image"),  # takes a picture: below
    ("DELETE", "/v1/me/api-keys/{key_id}"),
    ("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/send-again"),  # has two ids
}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    async with shop(settings) as running:
        yield running


@pytest.fixture
async def ids(api: Shop) -> Mapping[str, str]:
    """One id of each kind, all of them in the log."""
    product, customer = await api.product(), await api.client()
    order = await customer.post("/v1/orders", {"items": [{"product_id": product, "quantity": 1}]})
    person = {"email": "ada@example.org", "username": "ada", "password": "a good password"}
    account = await api.http.post("/v1/accounts", json=person)
    room = await (await api.client(Role.CUSTOMER)).post("/v1/rooms", {"name": "Tea"})
    return {
        "product_id": product,
        "order_id": order.json()["id"],
        "account_id": account.json()["id"],
        "room_id": room.json()["id"],
        "stock": str(INVENTORY.stream_id(UUID(product))),
    }


async def routes_by_id(api: Shop) -> list[tuple[str, str, str]]:
    """Method, path and the parameter's name, of each command with one."""
    document = (await api.http.get("/openapi.json")).json()
    return [
        (method.upper(), path, path.partition("{")[2].partition("}")[0])
        for path, methods in document["paths"].items()
        for method in methods
        if "{" in path and method != "get"
    ]


async def test_every_command_finds_nothing_under_an_id_of_another_kind(api: Shop, ids: Mapping[str, str]) -> None:
    admin, before = await api.client(Role.ADMIN), await api.stored()
    tried = 0
    for method, path, parameter in await routes_by_id(api):
        if (method, path) in LEADS_ELSEWHERE:
            continue
        for kind, strange in ids.items():
            if kind != parameter:
                strangely = path.format(**{**ids, parameter: strange})
                answer = await admin.send(method, strangely, BODIES.get((method, path)))
                said = (method, path, kind, answer.text[:200])
                assert answer.status_code == 404, said
                tried += 1
    assert tried > 30
    assert await api.stored() == before


async def test_an_order_of_what_is_no_product_is_refused(api: Shop, ids: Mapping[str, str]) -> None:
    customer, before = await api.client(), await api.stored()
    good = {"product_id": ids["product_id"], "quantity": 1}
    for kind, strange in ids.items():
        if kind != "product_id":
            for items in ([{"product_id": strange, "quantity": 1}], [good, {"product_id": strange, "quantity": 1}]):
                answer = await customer.post("/v1/orders", {"items": items})
                assert (answer.status_code, answer.json()["code"]) == (422, "unknown-product"), (kind, answer.text)
    assert await api.stored() == before


async def test_a_payment_of_what_is_no_order_is_refused(api: Shop, ids: Mapping[str, str]) -> None:
    before = await api.stored()
    for kind, strange in ids.items():
        if kind != "order_id":
            assert (await pay(api, strange)).status_code == 404, kind
    assert await api.stored() == before


async def pay(api: Shop, order: str) -> Any:
    money = {"amount": "1.00", "currency": "EUR"}
    paid = {"order_id": order, "payment_id": "pay-1", "amount": money, "status": "succeeded"}
    body = json.dumps(paid).encode()
    headers = {**sign(SECRET, body), "content-type": "application/json"}
    return await api.http.post("/v1/webhooks/payments", content=body, headers=headers)


async def test_a_picture_for_what_is_no_product_is_refused(api: Shop, ids: Mapping[str, str]) -> None:
    admin: Client = await api.client(Role.ADMIN)
    before = await api.stored()
    for kind, strange in ids.items():
        if kind != "product_id":
            answer = await admin.http.put(
                f"/v1/products/{strange}/image", content=PICTURE, headers={**admin.headers, "content-type": "image/png"}
            )
            assert answer.status_code == 404, (kind, answer.text)
    assert await api.stored() == before


PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
