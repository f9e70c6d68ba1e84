"""Logs for the read side: events of a random shop, written the way the log is written, and what they must come to."""

import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from domain import inventory
from domain.catalogue import Image, ProductDescribed, ProductDiscontinued, ProductImageChanged, ProductRepriced
from domain.inventory import StockReceived, StockReleased, StockReserved, StockReturned, StockSold, StockWithdrawn
from domain.kernel.messages import Event, shard_of
from domain.orders import OrderCompleted, OrderPaymentFailed, OrderShipped
from domain.registry import REGISTRY
from infra.event_codec import CODEC
from infra.eventsourcing.projections.projection import Projection
from infra.postgres.pool import Connection
from tests.support.builders import (
    euros,
    order_cancelled,
    order_line,
    order_money_returned,
    order_paid,
    order_placed,
    order_refunded,
    product_added,
)
from tests.support.current_log import LOG
from tests.support.write_side import connected


@dataclass(frozen=True, slots=True)
class Happening:
    """An event, and the stream that it belongs to."""

    entity_id: UUID
    stream_id: UUID
    category: str
    event: Event


def order(order_id: UUID, event: Event) -> Happening:
    return Happening(order_id, order_id, "order", event)


def product(product_id: UUID, event: Event) -> Happening:
    return Happening(product_id, product_id, "product", event)


def stock(product_id: UUID, event: Event) -> Happening:
    return Happening(product_id, inventory.stream_id(product_id), "inventory", event)


@dataclass(slots=True)
class Shop:
    """Deals events as a shop has them, from a seed: products with their stock, orders at every point of their lives."""

    random: random.Random
    products: list[UUID] = field(default_factory=list)
    orders: list[tuple[UUID, int]] = field(default_factory=list)

    @classmethod
    def of(cls, seed: int) -> "Shop":
        return cls(random.Random(seed))

    def happenings(self, count: int) -> list[Happening]:
        dealt: list[Happening] = []
        while len(dealt) < count:
            dealt += self._next()
        return dealt[:count]

    def id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128))

    def _next(self) -> list[Happening]:
        deal = self.random.random()
        if not self.products or deal < 0.1:
            return self._new_product()
        if not self.orders or deal < 0.3:
            return self._new_order()
        return self._catalogue() if deal < 0.5 else self._order_goes_on()

    def _new_product(self) -> list[Happening]:
        product_id = self.id()
        self.products.append(product_id)
        added = product_added(product_id=product_id, sku=f"SKU-{product_id.hex[:6]}", name='Tea "pot" \\ {Ü}')
        received = StockReceived(product_id=product_id, quantity=1_000, reason="delivery")
        return [product(product_id, added), stock(product_id, received)]

    def _catalogue(self) -> list[Happening]:
        product_id, pieces = self.random.choice(self.products), self.random.randint(1, 9)
        moved: dict[str, Any] = {"product_id": product_id, "order_id": self.id(), "quantity": pieces}
        described = ProductDescribed(
            product_id=product_id,
            name=f"Name {pieces}",
            description="",
            category=self.random.choice([None, "kitchen"]),
            tags=tuple(self.random.sample(["a,b", 'c"d', "e\\f", "{g}", "null", ""], pieces % 4)),
            tax_rate=order_line().tax_rate,
        )
        image = Image(digest=str(pieces) * 64, content_type="image/webp", size=pieces)
        choices = [
            product(product_id, ProductRepriced(product_id=product_id, price=euros(f"{pieces}.50"))),
            product(product_id, described),
            product(product_id, ProductImageChanged(product_id=product_id, image=image)),
            product(product_id, ProductDiscontinued(product_id=product_id)),
            stock(product_id, StockReserved(**moved)),
            stock(product_id, StockReleased(**moved)),
            stock(product_id, StockSold(**moved)),
            stock(product_id, StockReturned(**moved)),
            stock(product_id, StockWithdrawn(product_id=product_id, quantity=pieces, reason="broken")),
        ]
        return [self.random.choice(choices)]

    def _new_order(self) -> list[Happening]:
        order_id = self.id()
        self.orders.append((order_id, 0))
        lines = tuple(order_line(product_id=each) for each in self.products[-self.random.randint(1, 3) :])
        return [order(order_id, order_placed(order_id=order_id, lines=lines))]

    def _order_goes_on(self) -> list[Happening]:
        place = self.random.randrange(len(self.orders))
        order_id, step = self.orders[place]
        names: dict[str, Any] = {"order_id": order_id, "order_no": "W-2026-7K3M9QXA", "customer_id": order_id}
        steps: list[Event] = [
            OrderPaymentFailed(**names, payment_id="pay-0"),
            order_paid(order_id=order_id),
            OrderShipped(**names, carrier="DHL", tracking_no="1"),
            OrderCompleted(**names),
            order_refunded(order_id=order_id),
            order_money_returned(order_id=order_id),
        ]
        ends = self.random.random() < 0.2 or step == len(steps) - 1
        if ends:
            self.orders.pop(place)
        else:
            self.orders[place] = (order_id, step + 1)
        return [order(order_id, order_cancelled(order_id=order_id) if ends and step < 2 else steps[step])]


@dataclass(slots=True)
class LogWriter:
    """Appends events under the log's one lock, as the event store does, but whatever they are."""

    session: Connection
    shards: int
    versions: dict[UUID, int] = field(default_factory=dict)

    async def append(self, happenings: Sequence[Happening]) -> list[int]:
        """Answers their positions."""
        rows = [self._row(each) for each in happenings]
        return await self._write(rows)

    async def append_raw(self, entity_id: UUID, stream_id: UUID, category: str, name: str, data: bytes) -> int:
        """An event as no release of today would write it."""
        self.versions[stream_id] = version = self.versions.get(stream_id, 0) + 1
        shard = shard_of(entity_id, self.shards)
        return (await self._write([(stream_id, version, category, shard, name, 1, data)]))[0]

    def _row(self, each: Happening) -> tuple[Any, ...]:
        self.versions[each.stream_id] = version = self.versions.get(each.stream_id, 0) + 1
        shard = shard_of(each.entity_id, self.shards)
        return (each.stream_id, version, each.category, shard, *CODEC.encode(each.event))

    async def _write(self, rows: Iterable[tuple[Any, ...]]) -> list[int]:
        rows = list(rows)
        metadata, now = orjson.dumps({"actor": "test"}), datetime.now(UTC)
        async with self.session.transaction():
            await self.session.execute("SELECT lock_log()")
            head = await self.session.fetchval("SELECT log_position()")
            positions = list(range(head + 1, head + len(rows) + 1))
            await self.session.copy_records_to_table(
                "events",
                records=[(at, *row, metadata, now) for at, row in zip(positions, rows, strict=True)],
            )
        return positions


@asynccontextmanager
async def log_writer(url: str) -> AsyncIterator[LogWriter]:
    """A writer on a log of which it is the only one."""
    async with connected(url) as session:
        yield LogWriter(session, await session.fetchval("SELECT shards FROM log_head"))


async def expected_rows(session: Connection, projection: Projection[Any]) -> dict[str, tuple[int, Any]]:
    """An independent fold of the log: of each key the position of its last event and the document, parsed."""
    rows: dict[str, tuple[int, Any]] = {}
    types, after = {REGISTRY.names[kind] for kind in projection.handles}, 0
    while page := await LOG.read_all(session, after, 1_000):
        for entry in page:
            if entry.type in types:
                event = entry.recorded()
                key = projection.key(event)
                rows[key] = (entry.position, projection.project(rows.get(key, (0, None))[1], event))
        after = page[-1].position
    return {key: (at, orjson.loads(projection.document(row))) for key, (at, row) in rows.items() if row is not None}


async def stored_rows(session: Connection, projection: Projection[Any], generation: int) -> dict[str, tuple[int, Any]]:
    """The rows of a generation, in the same form."""
    rows = await session.fetch(f"SELECT key, position, document FROM {projection.table(generation)}")
    return {row[0]: (row[1], orjson.loads(row[2])) for row in rows}
