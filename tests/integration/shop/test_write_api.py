"""Commands over HTTP: what is stored, what is refused, and that what is refused stores nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from domain.accounts import Role
from infra.payments.webhook_signature import sign
from infra.settings import Settings
from tests.support.log_checks import violations
from tests.support.shop import SECRET, Client, Shop, shop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    async with shop(settings) as running:
        yield running


def an_order(product: str, quantity: int = 1) -> dict[str, Any]:
    return {"items": [{"product_id": product, "quantity": quantity}]}


def a_registration(**other: Any) -> dict[str, Any]:
    name = uuid4().hex
    return {"email": f"{name}@example.com", "username": name, "password": "a good password", **other}


async def test_of_64_clients_who_want_four_of_fifty_twelve_are_served(api: Shop) -> None:
    product = await api.product(stock=50)
    customers = [await api.client() for _ in range(64)]
    answers = await asyncio.gather(*[one.post("/v1/orders", an_order(product, 4)) for one in customers])
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 12
    assert statuses.count(409) == 52
    refusal = next(answer.json() for answer in answers if answer.status_code == 409)
    assert refusal["code"] == "out-of-stock"
    async with api.database.session() as connection:
        assert await violations(connection) == []  # type: ignore[arg-type]
        rows = await connection.fetch("SELECT type, data FROM events WHERE category = 'inventory' ORDER BY version")
    left = 0
    for row in rows:
        pieces = json.loads(row["data"])["quantity"]
        left += pieces if row["type"] == "stock.received" else -pieces
        assert left >= 0
    assert left == 2


async def test_an_order_that_is_short_of_one_item_reserves_nothing(api: Shop) -> None:
    plenty, scarce = await api.product(stock=10), await api.product(stock=1)
    before = await api.stored()
    customer = await api.client()
    body = {"items": [{"product_id": plenty, "quantity": 2}, {"product_id": scarce, "quantity": 2}]}
    answer = await customer.post("/v1/orders", body)
    assert answer.status_code == 409
    assert "/items/1" in answer.text
    assert await api.stored() == before


async def test_events_tell_who_caused_them_and_by_which_request(api: Shop) -> None:
    product, customer = await api.product(), await api.client()
    answer = await customer.post("/v1/orders", an_order(product), X_Request_ID="my-request", Idempotency_Key="k")
    rows = await api.database.fetch("SELECT metadata FROM events WHERE stream_id = $1", answer.json()["id"])
    metadata = json.loads(rows[0]["metadata"])
    assert metadata["actor"] == str(customer.id)
    assert metadata["correlation"] == "my-request"
    keys = await api.database.fetch("SELECT principal FROM commands")
    assert [row["principal"] for row in keys] == [str(customer.id)]


async def test_the_same_key_gives_the_same_answer_once(api: Shop) -> None:
    product, customer = await api.product(), await api.client()
    first = await customer.post("/v1/orders", an_order(product), Idempotency_Key="k")
    before = await api.stored()
    again = await customer.post("/v1/orders", an_order(product), Idempotency_Key="k")
    assert again.status_code == 201
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    for header in ("ETag", "Location", "Consistency-Token"):
        assert again.headers[header] == first.headers[header]
    other = await customer.post("/v1/orders", an_order(product, 2), Idempotency_Key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert await api.stored() == before


async def test_two_clients_may_use_the_same_key(api: Shop) -> None:
    product = await api.product()
    for customer in [await api.client(), await api.client()]:
        answer = await customer.post("/v1/orders", an_order(product), Idempotency_Key="k")
        assert answer.status_code == 201
        assert "Idempotency-Replayed" not in answer.headers


async def test_the_last_piece_is_not_sold_twice_to_one_who_asks_again(api: Shop) -> None:
    product, customer = await api.product(stock=1), await api.client()
    first = await customer.post("/v1/orders", an_order(product), Idempotency_Key="k")
    again = await customer.post("/v1/orders", an_order(product), Idempotency_Key="k")
    assert again.json() == first.json()


async def test_another_customers_order_is_not_there(api: Shop) -> None:
    product, owner, other = await api.product(), await api.client(), await api.client()
    order = (await owner.post("/v1/orders", an_order(product))).json()["id"]
    before = await api.stored()
    assert (await other.post(f"/v1/orders/{order}/cancel")).status_code == 404
    assert await api.stored() == before
    assert (await owner.post(f"/v1/orders/{order}/cancel")).status_code == 200


async def test_only_staff_ship(api: Shop) -> None:
    product, customer = await api.product(), await api.client()
    order = (await customer.post("/v1/orders", an_order(product))).json()["id"]
    answer = await customer.post(f"/v1/orders/{order}/ship", {"carrier": "Post", "tracking_no": "1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")


async def test_a_write_with_an_old_version_is_refused(api: Shop) -> None:
    product, staff = await api.product(), await api.client(Role.STAFF)
    price = {"price": {"amount": "11.00", "currency": "EUR"}}
    assert (await staff.send("PATCH", f"/v1/products/{product}", price, If_Match='"1"')).status_code == 200
    late = {"price": {"amount": "12.00", "currency": "EUR"}}
    for tags in ('"1"', 'W/"2"', '"x"', '"1", "x",', ","):
        answer = await staff.send("PATCH", f"/v1/products/{product}", late, If_Match=tags)
        assert (answer.status_code, answer.json()["code"]) == (412, "version-mismatch"), tags
    assert (await staff.send("PATCH", f"/v1/products/{product}", late, If_Match='"x", "2",')).status_code == 200


async def test_an_order_is_placed_at_the_price_of_now(api: Shop) -> None:
    product, staff, customer = await api.product(price="10.00"), await api.client(Role.STAFF), await api.client()
    assert (await customer.post("/v1/orders", an_order(product))).json()["total"]["amount"] == "10.00"
    await staff.send("PATCH", f"/v1/products/{product}", {"price": {"amount": "11.00", "currency": "EUR"}})
    assert (await customer.post("/v1/orders", an_order(product))).json()["total"]["amount"] == "11.00"


async def test_many_registrations_of_one_email_at_once_make_one_account(api: Shop) -> None:
    bodies = [a_registration(email="Same@Example.com") for _ in range(20)]
    anyone = Client(http=api.http, id=uuid4(), headers={})
    answers = await asyncio.gather(*[anyone.post("/v1/accounts", body) for body in bodies])
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * 19
    taken = next(answer.json() for answer in answers if answer.status_code == 409)
    assert taken["code"] == "already-taken"
    assert "/email" in json.dumps(taken)
    events, credentials = (await api.stored())[1], (await api.stored())[4]
    assert (events, credentials) == (1, 1)


async def test_a_password_is_in_no_event(api: Shop) -> None:
    anyone = Client(http=api.http, id=uuid4(), headers={})
    await anyone.post("/v1/accounts", a_registration(password="unmistakable-secret"), Idempotency_Key="k")
    rows = await api.database.fetch("SELECT data::text || metadata::text AS all FROM events")
    rows += await api.database.fetch("SELECT outcome::text AS all FROM commands")
    assert len(rows) == 2
    assert not any("unmistakable" in row["all"] or "argon2" in row["all"] for row in rows)


def payment(order: dict[str, Any], **other: Any) -> bytes:
    body = {"order_id": order["id"], "payment_id": "pay_1", "amount": order["total"], "status": "succeeded", **other}
    return json.dumps(body).encode()


async def pay(api: Shop, body: bytes, **other: str) -> tuple[int, str]:
    headers = {"Content-Type": "application/json", **sign(SECRET, body), **other}
    answer = await api.http.post("/v1/webhooks/payments", content=body, headers=headers)
    return answer.status_code, str(answer.json().get("code", ""))


async def test_a_payment_counts_once_and_only_with_its_signature(api: Shop) -> None:
    product, customer = await api.product(), await api.client()
    order = (await customer.post("/v1/orders", an_order(product))).json()
    body, before = payment(order), await api.stored()
    assert await pay(api, body, **{"webhook-signature": "v1,AAAA"}) == (401, "invalid-signature")
    assert await pay(api, body, **{"webhook-timestamp": "1000000000"}) == (401, "invalid-signature")
    assert await pay(api, payment(order, amount={"amount": "1.00", "currency": "EUR"})) == (409, "payment-mismatch")
    assert await api.stored() == before
    assert await asyncio.gather(*[pay(api, body) for _ in range(5)]) == [(200, "")] * 5
    stored, other = await api.stored(), {"amount": "1.00", "currency": "EUR"}
    assert await pay(api, payment(order, amount=other)) == (409, "payment-mismatch"), "the one that has paid it, too"
    assert await api.stored() == stored
    rows = await api.database.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", order["id"])
    assert [row["type"] for row in rows] == ["order.placed", "order.paid"]


PRODUCT = {"sku": "A", "name": "A", "price": {"amount": "1.00", "currency": "EUR"}}

BAD_JSON = {
    "a number that is none": b'{"items": NaN}',
    "a lone surrogate": b'{"shipping_address": {"name": "\\ud800"}, "items": []}',
    "NUL": b'{"sku": "a\\u0000b", "name": "x", "price": {"amount": "1.00", "currency": "EUR"}}',
    "a key twice": b'{"sku": "a", "sku": "b", "name": "x", "price": {"amount": "1.00", "currency": "EUR"}}',
    "a huge number": b'{"sku": "a", "name": "x", "price": {"amount": "1.00", "currency": "EUR"}, "stock": %s}'
    % (b"9" * 40),
    "a deep nest": b'{"sku": ' + b"[" * 100 + b"]" * 100 + b"}",
    "no JSON": b"sku=a",
    "two documents": b"{}{}",
    "UTF-16": json.dumps(PRODUCT).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(PRODUCT).encode(),
    "nothing": b"",
    "a list": b"[]",
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON.keys())
async def test_bad_json_is_refused_and_stores_nothing(api: Shop, body: bytes) -> None:
    staff = await api.client(Role.STAFF)
    before = await api.stored()
    for path in ("/v1/products", "/v1/orders", "/v1/accounts"):
        headers = {**staff.headers, "Content-Type": "application/json", "Idempotency-Key": "k"}
        answer = await api.http.post(path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert await api.stored() == before


BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/products", {**PRODUCT, "unknown": 1}),
    ("/v1/products", {**PRODUCT, "stock": "1"}),
    ("/v1/products", {**PRODUCT, "stock": True}),
    ("/v1/products", {**PRODUCT, "stock": 1.5}),
    ("/v1/products", {**PRODUCT, "stock": -1}),
    ("/v1/products", {**PRODUCT, "stock": 10**9}),
    ("/v1/products", {**PRODUCT, "name": None}),
    ("/v1/products", {**PRODUCT, "name": ""}),
    ("/v1/products", {**PRODUCT, "name": "   "}),
    ("/v1/products", {**PRODUCT, "name": "x" * 5000}),
    ("/v1/products", {**PRODUCT, "price": 1}),
    ("/v1/products", {**PRODUCT, "price": {"amount": 1.0, "currency": "EUR"}}),
    ("/v1/products", {**PRODUCT, "price": {"amount": "1.005", "currency": "EUR"}}),
    ("/v1/products", {**PRODUCT, "price": {"amount": "-1.00", "currency": "EUR"}}),
    ("/v1/products", {**PRODUCT, "price": {"amount": "1e3", "currency": "EUR"}}),
    ("/v1/products", {**PRODUCT, "price": {"amount": "1.00", "currency": "ZZZ"}}),
    ("/v1/products", {**PRODUCT, "tax_rate": 2}),
    ("/v1/products", {**PRODUCT, "tags": ["x"] * 100}),
    ("/v1/products", {"sku": "A"}),
    ("/v1/orders", {"items": []}),
    ("/v1/orders", {"items": [{"product_id": "no id", "quantity": 1}]}),
    ("/v1/orders", {"items": [{"product_id": str(uuid4()), "quantity": 1}]}),
    ("/v1/orders", {"items": [{"product_id": str(uuid4()), "quantity": 0}]}),
    ("/v1/orders", {"items": [{"product_id": str(uuid4()), "quantity": 10**18}]}),
    ("/v1/orders", {"items": [{"product_id": str(uuid4()), "quantity": 1, "price": 1}]}),
    ("/v1/orders", {"items": [{"product_id": str(uuid4()), "quantity": 1}] * 101}),
    ("/v1/accounts", a_registration(email="nobody")),
    ("/v1/accounts", a_registration(email="a@b@c.example")),
    ("/v1/accounts", a_registration(email="a\r\nBcc: x@example.com")),
    ("/v1/accounts", a_registration(username="a b")),
    ("/v1/accounts", a_registration(username="a@b")),
    ("/v1/accounts", a_registration(password="short")),
    ("/v1/accounts", a_registration(password="x" * 2000)),
    ("/v1/accounts", a_registration(roles=["admin"])),
    ("/v1/accounts", a_registration(password=12345678)),
]


async def test_bad_fields_are_refused_and_store_nothing(api: Shop) -> None:
    staff = await api.client(Role.STAFF)
    before = await api.stored()
    for path, body in BAD_FIELDS:
        answer = await staff.post(path, body, Idempotency_Key="k")
        problem = answer.json()
        assert answer.status_code in (409, 422), (path, body, problem)
        assert problem["status"] == answer.status_code
        assert problem["type"] == f"/problems/{problem['code']}"
    assert await api.stored() == before


async def test_what_is_too_large_or_of_another_kind_or_from_nobody_stores_nothing(api: Shop) -> None:
    staff, before = await api.client(Role.STAFF), await api.stored()
    large = json.dumps({**PRODUCT, "description": "x" * 2_000_000})
    kind = {"Content-Type": "application/json"}
    sent = {
        413: await api.http.post("/v1/products", content=large, headers={**staff.headers, **kind}),
        415: await api.http.post(
            "/v1/products", content=json.dumps(PRODUCT), headers={**staff.headers, "Content-Type": "text/plain"}
        ),
        401: await api.http.post("/v1/products", json=PRODUCT),
        403: await (await api.client()).post("/v1/products", PRODUCT),
        404: await staff.post("/v1/nothing", PRODUCT),
        405: await staff.send("PUT", "/v1/products", PRODUCT),
    }
    assert {status: answer.status_code for status, answer in sent.items()} == {status: status for status in sent}
    assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in sent.values())
    assert await api.stored() == before
