"""The plan of a made-up shop: blocks of products, customers and orders that follow from a number, from nothing else.

A block is whole in itself: its orders are of its customers, for its products. So a larger shop is a smaller one and
more blocks, and no more than one of them is held at a time.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Literal, TypeAlias
from uuid import UUID

from cli.seed import goods
from domain.orders import Address
from domain.workflows.checkout import Item
from infra.schemas.money import MoneyBody
from infra.schemas.product import NewProduct

Fate: TypeAlias = Literal["pending", "paid", "shipped", "done", "cancelled", "refunded", "returned", "paid too late"]

SIZES: Final[Mapping[str, int]] = MappingProxyType({"products": 25, "customers": 10, "orders": 40})
"""How much of each is in a block."""
FATES: Final[Mapping[Fate, int]] = MappingProxyType(
    {
        "pending": 4,
        "paid": 6,
        "shipped": 6,
        "done": 15,
        "cancelled": 4,
        "refunded": 2,
        "returned": 2,
        "paid too late": 1,
    }
)
"""What becomes of the orders of a block; ``returned`` is a refund of what had been delivered."""

_EPOCH_MS: Final = 1_767_225_600_000
"""2026-01-01: the time that the ids tell, so that they are the same whenever they are made."""


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Somebody who is to have an account. ``verified``: they have followed the link in their mail."""

    account_id: UUID
    name: str
    username: str
    email: str
    language: str | None
    verified: bool


@dataclass(frozen=True, kw_only=True)
class PlannedOrder:
    """An order and what is to become of it."""

    order_id: UUID
    customer_id: UUID
    items: Sequence[Item]
    address: Address
    fate: Fate
    declined: bool
    carrier: str
    tracking_no: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """Products by their ids, customers and orders."""

    products: Mapping[UUID, NewProduct]
    customers: Sequence[Customer]
    orders: Sequence[PlannedOrder]


def blocks(seed: int, scale: int) -> Iterator[Block]:
    """The blocks of a shop, one after the other."""
    return (block(seed, number) for number in range(scale))


def block(seed: int, number: int) -> Block:
    """One of them."""
    draw = random.Random(f"weir:{seed}:{number}")  # noqa: S311 - nothing is secret here
    customers = [_customer(draw, seed, n) for n in _numbers("customers", number)]
    products = [entity_id(seed, "product", n) for n in _numbers("products", number)]
    orders = [
        _order(draw, seed, n, fate, customers, products)
        for n, fate in zip(_numbers("orders", number), _fates(draw), strict=True)
    ]
    asked = Counter(item.product_id for order in orders for item in order.items for _ in range(item.quantity))
    return Block(
        products={
            product_id: _product(draw, seed, n, asked[product_id])
            for n, product_id in zip(_numbers("products", number), products, strict=True)
        },
        customers=customers,
        orders=orders,
    )


def entity_id(seed: int, kind: str, number: int) -> UUID:
    """The id of the so many-th of a kind in that shop: in the form of UUIDv7 (RFC 9562), in the order of numbers."""
    scattered = int.from_bytes(blake2b(f"weir:{seed}:{kind}:{number}".encode(), digest_size=10).digest())
    high = (_EPOCH_MS + number) << 80 | 7 << 76 | (scattered >> 68) << 64
    return UUID(int=high | 0b10 << 62 | scattered & (1 << 62) - 1)


def _numbers(kind: str, number: int) -> range:
    """Which of a kind are in a block, counted through the whole shop from 1 on."""
    return range(number * SIZES[kind] + 1, (number + 1) * SIZES[kind] + 1)


def _fates(draw: random.Random) -> Sequence[Fate]:
    fates = [fate for fate, count in FATES.items() for _ in range(count)]
    draw.shuffle(fates)
    return fates


def _customer(draw: random.Random, seed: int, number: int) -> Customer:
    username = f"customer-{seed}-{number}"
    return Customer(
        account_id=entity_id(seed, "customer", number),
        name=f"{draw.choice(goods.FIRST_NAMES)} {draw.choice(goods.LAST_NAMES)}",
        username=username,
        email=f"{username}@example.com",
        language=draw.choice(goods.LANGUAGES),
        verified=draw.random() < 0.8,
    )


def _product(draw: random.Random, seed: int, number: int, asked: int) -> NewProduct:
    """A product of which there is enough for the orders, and of every fifth just so much."""
    what = draw.choice(goods.RANGES)
    kind, noun = draw.choice(what.kinds), draw.choice(what.nouns)
    cents = draw.randint(*what.cents) // 10 * 10
    return NewProduct(
        sku=f"{what.prefix}-{seed}-{number:05}",
        name=f"{kind} {noun} No. {number}",
        description=f"{kind} {noun}, from our {what.category} shelf.",
        price=MoneyBody(amount=str((Decimal(cents) / 100).quantize(Decimal("0.01"))), currency="EUR"),
        tax_rate=Decimal(what.tax_rate),
        category=what.category,
        tags=draw.sample(goods.TAGS, draw.randint(0, 3)),
        stock=asked + (0 if draw.random() < 0.2 else draw.randint(5, 200)),
    )


def _order(
    draw: random.Random, seed: int, number: int, fate: Fate, customers: Sequence[Customer], products: Sequence[UUID]
) -> PlannedOrder:
    """Some products sell far better than others."""
    buyer, (city, country) = draw.choice(customers), draw.choice(goods.CITIES)
    weights = [1 / (place + 1) for place in range(len(products))]
    wanted = dict.fromkeys(draw.choices(products, weights, k=draw.randint(1, 4)))
    street = f"{draw.randint(1, 120)} {draw.choice(goods.STREETS)}"
    return PlannedOrder(
        order_id=entity_id(seed, "order", number),
        customer_id=buyer.account_id,
        items=[Item(product_id, draw.choice((1, 1, 1, 2, 3))) for product_id in wanted],
        address=Address(name=buyer.name, line1=street, city=city, country=country),
        fate=fate,
        declined=fate != "cancelled" and draw.random() < 0.1,
        carrier=draw.choice(goods.CARRIERS),
        tracking_no=f"TR{seed}{number:08}",
        reason=draw.choice(goods.REASONS),
    )
