"""Names of all kinds, by one rule at every door: nothing hides in them, and no blanks stand around them."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from uuid import uuid4

import orjson
import pytest

from domain.accounts import Role
from infra.settings import Settings
from tests.support.importing import CSV, faults, importing, row, written
from tests.support.shop import Shop, shop_with_lists

pytestmark = pytest.mark.anyio

PRODUCT: Final = {"sku": "A", "name": "Kettle", "price": {"amount": "1.00", "currency": "EUR"}}
ACCOUNT: Final = {"email": "a@example.com", "username": "somebody", "password": "a good password"}
KEY: Final = {"name": "a", "scopes": ["orders:read"]}
ROOM: Final = {"name": "Tea"}
STOCK: Final = {"change": 1, "reason": "delivery"}

DOORS: Final[list[tuple[str, str, Mapping[str, Any], str]]] = [
    ("POST", "/v1/accounts", ACCOUNT, "username"),
    ("PATCH", "/v1/me", {}, "username"),
    ("PATCH", "/v1/me", {}, "full_name"),
    ("POST", "/v1/me/api-keys", KEY, "name"),
    ("POST", "/v1/products", PRODUCT, "sku"),
    ("POST", "/v1/products", PRODUCT, "name"),
    ("POST", "/v1/products", PRODUCT, "category"),
    ("POST", "/v1/products", PRODUCT, "tags"),
    ("PATCH", "/v1/products/{product}", {}, "sku"),
    ("PATCH", "/v1/products/{product}", {}, "name"),
    ("PATCH", "/v1/products/{product}", {}, "category"),
    ("PATCH", "/v1/products/{product}", {}, "tags"),
    ("POST", "/v1/products/{product}/stock", STOCK, "reason"),
    ("POST", "/v1/rooms", ROOM, "name"),
    ("POST", "/v1/rooms", ROOM, "topic"),
]
"""Method, path, body, and which field of it is a name."""

HIDING: Final = [
    *("", " ", "\u00a0", "\u3000", "\u2800", "\u200b", "\u200c", "\u200d", "\ufe0f", "\u3164", "\u0300", "\U000e0100"),
    *(
        "X\u200d",
        "X\u200c",
        "X\ufe0f",
        "X\ufe00",
        "X\U000e0100",
        "X\U000e01ef",
        "\u200dX",
        "X\u00ad",
        "X\u202e",
        "X\ufeff",
    ),
]


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    async with shop_with_lists(settings) as running:
        yield running


def named(body: Mapping[str, Any], field: str, name: str) -> dict[str, Any]:
    return {**body, field: [name] if field == "tags" else name}


async def test_a_name_that_hides_something_is_refused_at_every_door(api: Shop) -> None:
    product, admin = await api.product(), await api.client(Role.ADMIN)
    before = await api.stored()
    for method, path, body, field in DOORS:
        for name in HIDING:
            answer = await admin.send(method, path.format(product=product), named(body, field, name))
            assert answer.status_code == 422, (path, field, ascii(name), answer.text)
            assert answer.json()["errors"][0]["pointer"].startswith(f"/{field}"), (path, field, ascii(name))
    assert await api.stored() == before


async def test_blanks_around_a_name_are_no_part_of_it_at_any_door(api: Shop) -> None:
    product, admin = await api.product(), await api.client(Role.ADMIN)
    for number, (method, path, body, field) in enumerate(DOORS):
        name, body = f"name{number}", {**body, "sku": uuid4().hex} if "sku" in body else body
        answer = await admin.send(method, path.format(product=product), named(body, field, f" \u2003{name}\t "))
        assert answer.status_code in (200, 201), (path, field, answer.text)
        rows = await api.database.fetch("SELECT data::text AS kept FROM events ORDER BY position DESC LIMIT 2")
        kept = [answer.text] if "api-keys" in path else [row["kept"] for row in rows]
        assert any(f'"{name}"' in each for each in kept), (path, field, kept)


async def test_files_are_taken_by_the_same_rule(settings: Settings) -> None:
    rows = [
        row(1, sku=" SKU-1\u00a0", name=" Kettle ", category=" lamps ", tags=" red | new ", price="1", currency="EUR"),
        row(2, sku="SKU-2\ufe0f", category="lamps", tags="red"),
        row(3, sku="\u2800", category="lamps", tags="red"),
        row(4, name="Kettle\u200d", category="lamps", tags="red"),
        row(5, category="\u0300", tags="red"),
        row(6, category="lamps", tags="red|X\ufe0f"),
    ]
    async with importing(settings) as scene:
        seen = await scene.imported(written(rows), CSV)
        assert faults(seen) == [(line, "invalid-value") for line in range(3, 8)]
        told = await scene.database.fetch("SELECT data FROM events WHERE type = 'product.added'")
        kept = [orjson.loads(each["data"]) for each in told]
    assert [(told["sku"], told["name"], told["category"], told["tags"]) for told in kept] == [
        ("SKU-1", "Kettle", "lamps", ["red", "new"])
    ]
