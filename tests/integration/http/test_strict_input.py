"""What stands outside the grammar is refused, by whichever door it comes, and stores nothing."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from domain.accounts import Role
from infra.settings import Settings
from tests.support.shop import Shop, shop_with_lists

pytestmark = pytest.mark.anyio

ID = "0192f0c1-aaaa-7000-8000-000000000001"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    async with shop_with_lists(settings) as running:
        yield running


TARGETS = [
    ("/v1/products?limit=1_0", "/query/limit", "int-parsing"),
    ("/v1/products?limit=%2B5", "/query/limit", "int-parsing"),
    ("/v1/products?limit=%2010", "/query/limit", "int-parsing"),
    ("/v1/products?limit=10.0", "/query/limit", "int-parsing"),
    ("/v1/products?min_price=٥", "/query/min_price", "decimal-parsing"),
    ("/v1/products?max_price=1e3", "/query/max_price", "decimal-parsing"),
    ("/v1/products?min_price=00.5", "/query/min_price", "decimal-parsing"),
    ("/v1/products?max_price=-0", "/query/max_price", "decimal-parsing"),
    ("/v1/products?limit=010", "/query/limit", "int-parsing"),
    ("/v1/products?in_stock=yes", "/query/in_stock", "bool-parsing"),
    ("/v1/products?limit=1&limit=2", "/query/limit", "repeated"),
    ("/v1/products?q=a&q=b", "/query/q", "repeated"),
    (f"/v1/products/urn:uuid:{ID}", "/path/product_id", "uuid-parsing"),
    (f"/v1/products/%7B{ID}%7D", "/path/product_id", "uuid-parsing"),
    (f"/v1/products/{ID.replace('-', '')}", "/path/product_id", "uuid-parsing"),
    (f"/v1/orders?customer_id={ID.replace('-', '')}", "/query/customer_id", "uuid-parsing"),
    ("/v1/orders?from=1798761600", "/query/from", "datetime-parsing"),
    ("/v1/accounts?active=1", "/query/active", "bool-parsing"),
    ("/v1/events?after=1_0", "/query/after", "int-parsing"),
]


@pytest.mark.parametrize(("target", "pointer", "code"), TARGETS)
async def test_what_only_a_lenient_parser_takes_is_refused(api: Shop, target: str, pointer: str, code: str) -> None:
    answer = await (await api.client(Role.ADMIN)).send("GET", target)
    assert answer.status_code == 422, answer.text
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


PRODUCT = {"sku": "A", "name": "Kettle", "price": {"amount": "1.00", "currency": "EUR"}}
REGISTRATION = {"email": "a@example.com", "username": "somebody", "password": "a good password"}

BODIES: list[tuple[str, str, Any, int]] = [
    ("PATCH", "/v1/products/{product}", {"price": None}, 422),
    ("PATCH", "/v1/products/{product}", {"tax_rate": "0_1"}, 422),
    ("PATCH", "/v1/products/{product}", {"tax_rate": "٠.١"}, 422),
    ("POST", "/v1/products", {**PRODUCT, "tax_rate": "1e-1"}, 422),
    ("POST", "/v1/products", {**PRODUCT, "tax_rate": "00.1"}, 422),
    ("POST", "/v1/products", {**PRODUCT, "tax_rate": "-0"}, 422),
    ("POST", "/v1/products", {**PRODUCT, "tax_rate": -0.0}, 422),
    ("POST", "/v1/products", {**PRODUCT, "price": {"amount": "0001", "currency": "EUR"}}, 422),
    ("POST", "/v1/products", {**PRODUCT, "price": {"amount": "-0", "currency": "EUR"}}, 422),
    ("POST", "/v1/products", {**PRODUCT, "name": "a\u202eb"}, 422),
    ("POST", "/v1/orders", {"items": [{"product_id": f"urn:uuid:{ID}", "quantity": 1}]}, 422),
    ("POST", "/v1/me/api-keys", {"name": "a", "scopes": ["orders:read"], "expires_at": "1798761600"}, 422),
    ("POST", "/v1/me/api-keys", {"name": "a\u0085b", "scopes": ["orders:read"]}, 422),
    ("POST", "/v1/me/api-keys", {"name": "a\u2028b", "scopes": ["orders:read"]}, 422),
    ("PATCH", "/v1/me", {"full_name": "a\u202eb"}, 422),
    ("PATCH", "/v1/me", {"full_name": "a\u009bb"}, 422),
    ("POST", "/v1/accounts", {**REGISTRATION, "username": "\u3164"}, 422),
    ("POST", "/v1/accounts", {**REGISTRATION, "username": "\u115f"}, 422),
    ("POST", "/v1/accounts", {**REGISTRATION, "username": "admin\u3164"}, 422),
    ("POST", "/v1/accounts", {**REGISTRATION, "email": f"{'x' * 65}@example.com"}, 422),
]


async def test_bodies_outside_the_grammar_store_nothing(api: Shop) -> None:
    product, admin = await api.product(), await api.client(Role.ADMIN)
    before = await api.stored()
    for method, path, body, status in BODIES:
        answer = await admin.send(method, path.format(product=product), body)
        assert answer.status_code == status, (path, body, answer.text)
    assert await api.stored() == before


@pytest.mark.parametrize("depth", [255, 300, 1_023, 1_024, 20_000])
async def test_json_of_any_depth_is_refused_by_every_route(api: Shop, depth: int) -> None:
    admin, deep = await api.client(Role.ADMIN), b'{"a":' * depth + b"1" + b"}" * depth
    kind = {"Content-Type": "application/json"}
    for path in ("/v1/orders", "/v1/products", "/v1/accounts", "/v1/auth/refresh", "/v1/auth/password-reset"):
        for body in (deep, b"[" * depth + b"]" * depth):
            answer = await api.http.post(path, content=body, headers={**admin.headers, **kind})
            assert answer.status_code == 400, (path, depth, answer.text)


SEARCHES = ["-" * 33, '"' * 99, "- " * 60, "(" * 150, "!!&|" * 20, "a or " * 30, '-"a" ' * 30, "\\", "'", "%", ":*"]


@pytest.mark.parametrize("wanted", SEARCHES)
async def test_whatever_is_searched_for_is_searched_or_refused(api: Shop, wanted: str) -> None:
    answer = await api.http.get("/v1/products", params={"q": wanted})
    assert answer.status_code in (200, 422), answer.text


async def test_names_are_taken_as_people_write_them(api: Shop) -> None:
    for username in (" Bob ", "नमस्ते", "สวัสดี", "Zoë", "李雷"):
        body = {"email": f"{uuid4().hex}@example.com", "username": username, "password": "a good password"}
        answer = await api.http.post("/v1/accounts", json=body)
        assert answer.status_code == 201, (username, answer.text)
    again = {"email": "b@example.com", "username": "bob", "password": "a good password"}
    assert (await api.http.post("/v1/accounts", json=again)).json()["code"] == "already-taken"


async def test_two_domains_that_an_older_idna_took_for_one_are_two(api: Shop) -> None:
    for number, email in enumerate(("x@faß.de", "x@fass.de", "x@xn--fa-hia.de")):
        body = {"email": email, "username": f"somebody{number}", "password": "a good password"}
        answer = await api.http.post("/v1/accounts", json=body)
        assert answer.status_code == (201 if number < 2 else 409), (email, answer.text)


TAKEN = {
    "x@βόλος.com": "x@xn--nxasmm1c.com",
    "x@βόλοσ.com": "x@xn--nxasmq6b.com",
    "x@نامه\u200cای.com": "x@xn--mgba3gch31f060k.com",
    "x@ශ්\u200dරී.com": "x@xn--10cl1a0b660p.com",
    "x@क्\u200dष.com": "x@xn--11b2ezcw70k.com",
    "x@क्ष.com": "x@xn--11b2ezc.com",
    "x@xn--mgba3gch31f060k.org": "x@xn--mgba3gch31f060k.org",
    " x@faß。de ": "x@xn--fa-hia.de",
    "x@XN--BCHER-KVA.example.de": "x@xn--bcher-kva.example.de",
    "zoë@example.com": "zoë@example.com",
}
"""Addresses, and under which key each is claimed: by IDNA 2008, so final sigma and joiners make another domain."""

NO_ADDRESSES = [
    *("x@a\u200db.com", "x@نامه\u200c.com", "x@\u200cنامه.com", "x@क\u200dष.com", "x@xn--ab-j1t.com", "x@a\ufe0fb.com"),
    *("a\u200db@example.com", "क्\u200dष@example.com", "a\ufe0f@example.com", "\u0301a@example.com"),
    *("\u0345a@example.com", "a＠b@example.com", "x@1.אב.com", "x@host", "x@a.local", "x@-a.com", "x@a_b.com"),
    *("x@xn--a.com", "x@a.123", "x@[127.0.0.1]", "a b@example.com", "a..b@example.com", '"a b"@example.com'),
    "A <x@example.com>",
]


async def test_addresses_of_every_script_are_taken_by_one_rule(api: Shop) -> None:
    for number, (email, key) in enumerate(TAKEN.items()):
        body = {"email": email, "username": f"somebody{number}", "password": "a good password"}
        answer = await api.http.post("/v1/accounts", json=body)
        assert answer.status_code == 201, (ascii(email), answer.text)
        row = await api.database.fetchrow(
            "SELECT data ->> 'email_key' AS key FROM events ORDER BY position DESC LIMIT 1"
        )
        assert dict(row or {}) == {"key": key}, ascii(email)


async def test_what_is_no_address_in_any_script_stores_nothing(api: Shop) -> None:
    before = await api.stored()
    for email in NO_ADDRESSES:
        body = {"email": email, "username": "somebody", "password": "a good password"}
        answer = await api.http.post("/v1/accounts", json=body)
        assert answer.status_code == 422, (ascii(email), answer.text)
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/email"]
    assert await api.stored() == before


async def test_a_scope_that_is_empty_is_one_that_was_left_out(api: Shop) -> None:
    account = {"email": "a@example.com", "username": "somebody", "password": "a good password"}
    assert (await api.http.post("/v1/accounts", json=account)).status_code == 201
    form = {"grant_type": "password", "username": "somebody", "password": "a good password"}
    without = await api.http.post("/v1/auth/token", data=form)
    for scope in ("", " "):
        answer = await api.http.post("/v1/auth/token", data={**form, "scope": scope})
        assert (answer.status_code, answer.json()["scope"]) == (200, without.json()["scope"])


async def test_an_order_of_nothing_to_pay_is_paid_and_its_stock_sold(api: Shop) -> None:
    product = await api.product(stock=2, price="0.00")
    customer, items = await api.client(), {"items": [{"product_id": product, "quantity": 2}]}
    placed = await customer.post("/v1/orders", items)
    assert (placed.status_code, placed.json()["version"]) == (201, 2), placed.text
    rows = await api.database.fetch(
        "SELECT type FROM events WHERE category IN ('order', 'inventory') ORDER BY position"
    )
    assert [row["type"] for row in rows][1:] == ["order.placed", "order.paid", "stock.reserved", "stock.sold"]
    assert await api.database.fetchrow("SELECT FROM allowances") is None
    assert (await customer.post("/v1/orders", items)).json()["code"] == "out-of-stock"


async def test_the_sku_of_a_product_that_is_no_longer_sold_is_free(api: Shop) -> None:
    staff = await api.client(Role.STAFF)
    first = await staff.post("/v1/products", PRODUCT)
    assert (await staff.post("/v1/products", PRODUCT)).status_code == 409
    assert (await staff.send("DELETE", f"/v1/products/{first.json()['id']}")).status_code == 200
    assert (await staff.post("/v1/products", PRODUCT)).status_code == 201
