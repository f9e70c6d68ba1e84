"""The same work for both sides: orders of two items over a catalogue of 1,000 products, as event, body or document."""

from collections.abc import Callable, Sequence
from itertools import cycle
from random import Random
from typing import Any, TypeAlias
from uuid import UUID, uuid5

Basket: TypeAlias = Sequence[UUID]

PRODUCTS = 1_000
ITEMS = 2
NAME = "Stoneware mug, blue"
CUSTOMER = UUID("0199aa00-0000-7000-8000-000000000001")
_NAMESPACE = UUID("6f1c0d52-6f0e-4a3e-9d3b-0d6a5b5b7c11")


def product_ids() -> list[UUID]:
    """The catalogue's ids, the same in every process."""
    return [uuid5(_NAMESPACE, f"product {number}") for number in range(PRODUCTS)]


def sku(product_id: UUID) -> str:
    """A product's stock keeping unit."""
    return f"SKU-{product_id.hex[:12].upper()}"


def baskets(count: int, catalogue: Sequence[UUID]) -> list[Basket]:
    """``count`` choices of two different products of the catalogue; the same choices in every process."""
    chance = Random(1)
    return [chance.sample(catalogue, ITEMS) for _ in range(count)]


def orders(count: int = PRODUCTS) -> Callable[[], dict[str, Any]]:
    """A function that deals placed orders as plain JSON values (about 700 bytes), made beforehand and dealt in turn."""
    return cycle([order_placed(number, basket) for number, basket in enumerate(baskets(count, product_ids()))]).__next__


def order_placed(number: int, basket: Basket) -> dict[str, Any]:
    """What Weir's ``order.placed`` carries, as plain JSON values."""
    return {
        "order_id": str(uuid5(_NAMESPACE, f"order {number}")),
        "order_no": f"W-2026-{number:08d}",
        "customer_id": str(CUSTOMER),
        "lines": [_line(product_id) for product_id in basket],
        "subtotal": {"amount": "39.80", "currency": "EUR"},
        "tax": {"amount": "7.56", "currency": "EUR"},
        "total": {"amount": "47.36", "currency": "EUR"},
        "shipping_address": None,
        "expires_at": "2026-01-01T00:30:00Z",
    }


def metadata() -> dict[str, str]:
    """Correlation, causation and actor, as an event of a request carries them."""
    return {"correlation": "01JGF9C5Z3W4N8V2K6T1R7Q0XB", "causation": "POST /v1/orders", "actor": "account:1"}


def product(product_id: UUID) -> dict[str, Any]:
    """The document of one product, about 500 bytes of JSON."""
    return {
        "id": str(product_id),
        "sku": sku(product_id),
        "name": NAME,
        "description": "Hand-glazed stoneware mug, 350 ml, dishwasher safe. Made in small batches.",
        "price": {"amount": "19.90", "currency": "EUR"},
        "tax_rate": "0.19",
        "category": "kitchen",
        "tags": ["mug", "stoneware", "blue"],
        "stock_available": 1_000_000,
        "status": "active",
        "image_url": None,
        "sold": 0,
        "version": 1,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }


def _line(product_id: UUID) -> dict[str, Any]:
    return {
        "product_id": str(product_id),
        "sku": sku(product_id),
        "name": NAME,
        "quantity": 1,
        "unit_price": {"amount": "19.90", "currency": "EUR"},
        "tax_rate": "0.19",
    }
