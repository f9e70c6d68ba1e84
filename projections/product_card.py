"""The read model of one product: what the catalogue says of it and what the inventory holds.

A product and its stock are two streams of one entity, and so in one shard: one owner folds both into one row.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from domain.catalogue import (
    ProductAdded,
    ProductDescribed,
    ProductDiscontinued,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
)
from domain.inventory import (
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
    StockSold,
    StockWithdrawn,
)
from domain.kernel.messages import Recorded
from domain.money import Money
from domain.values import normal_form
from infra.eventsourcing.codec import dumps
from infra.eventsourcing.projections.projection import By, Column, Projection, amend, known, make
from projections.sort_history import FormerPlaces, left
from projections.words import lexemes, likeness, sort_key, words_of


class ProductStatus(StrEnum):
    """Whether the product can be ordered."""

    ACTIVE = "active"
    DISCONTINUED = "discontinued"


@dataclass(frozen=True, kw_only=True)
class ProductCard:
    """The product document. ``version`` is the product's own: its stock is another stream, with versions of its own."""

    id: UUID
    sku: str
    name: str
    description: str
    price: Money
    tax_rate: Decimal
    category: str | None
    tags: tuple[str, ...]
    stock_available: int
    status: ProductStatus
    image_url: str | None
    sold: int
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class FormerlyAt:
    """Where the product stood in lists that keep their order, by what they are sorted by."""

    name: FormerPlaces = ()
    price: FormerPlaces = ()

    @property
    def moved(self) -> int:
        """The position of the event that moved it last; 0 if none has."""
        return max([places[-1].until for places in (self.name, self.price) if places], default=0)


NOWHERE: Final = FormerlyAt()


def image_url(product_id: UUID, file: str) -> str:
    """Where this very picture is shown, for as long as it is kept."""
    return f"/v1/products/{product_id}/image?v={file}"


def image_file(url: str) -> str:
    """Which picture it is that the URL leads to."""
    return url.rpartition("?v=")[2]


@dataclass(frozen=True, kw_only=True)
class ListedProduct(ProductCard):
    """The row: the document, and what lists must know beside it."""

    _places: FormerlyAt = NOWHERE

    @property
    def places(self) -> FormerlyAt:
        """Where it stood before."""
        return self._places


def project(row: ListedProduct | None, event: Recorded) -> ListedProduct | None:
    """The card after the event of either stream.

    Order is promised within a stream only, so each stream changes what the other does not.
    """
    if isinstance(event.data, ProductAdded):
        return _added(event.data, event)
    before = known(row, event)
    card = _after(before, event)
    if (card.price, card.name) == (before.price, before.name):
        return card
    return amend(card, _places=_moved(before, card, event.position))


def _moved(before: ListedProduct, card: ListedProduct, position: int) -> FormerlyAt:
    places = before.places
    return make(
        FormerlyAt,
        name=left(places.name, sort_key(before.name), sort_key(card.name), position),
        price=left(places.price, before.price.amount, card.price.amount, position),
    )


def _after(card: ListedProduct, event: Recorded) -> ListedProduct:
    now = max(card.updated_at, event.recorded_at)
    match event.data:
        case StockReceived(quantity=pieces) | StockReleased(quantity=pieces):
            return amend(card, stock_available=card.stock_available + pieces, updated_at=now)
        case StockReserved(quantity=pieces) | StockWithdrawn(quantity=pieces):
            return amend(card, stock_available=card.stock_available - pieces, updated_at=now)
        case StockSold(quantity=pieces):
            return amend(card, sold=card.sold + pieces, updated_at=now)
        case StockReturned(quantity=pieces):
            return amend(card, stock_available=card.stock_available + pieces, sold=card.sold - pieces, updated_at=now)
        case _:
            return _changed(card, event, now)


def _changed(card: ListedProduct, event: Recorded, now: datetime) -> ListedProduct:
    version = event.version
    match event.data:
        case ProductRepriced(price=price):
            return amend(card, version=version, updated_at=now, price=price)
        case ProductDescribed() as said:
            return amend(
                card,
                version=version,
                updated_at=now,
                name=said.name,
                description=said.description,
                category=said.category,
                tags=said.tags,
                tax_rate=said.tax_rate,
            )
        case ProductSkuChanged(sku=sku):
            return amend(card, version=version, updated_at=now, sku=sku)
        case ProductImageChanged(image=image):
            return amend(card, version=version, updated_at=now, image_url=image_url(card.id, image.file))
        case ProductDiscontinued():
            return amend(card, version=version, updated_at=now, status=ProductStatus.DISCONTINUED)
        case _:
            return amend(card, version=version, updated_at=now)


def _added(added: ProductAdded, event: Recorded) -> ListedProduct:
    return make(
        ListedProduct,
        id=added.product_id,
        sku=added.sku,
        name=added.name,
        description=added.description,
        price=added.price,
        tax_rate=added.tax_rate,
        category=added.category,
        tags=added.tags,
        stock_available=0,
        status=ProductStatus.ACTIVE,
        image_url=None,
        sold=0,
        version=event.version,
        created_at=event.recorded_at,
        updated_at=event.recorded_at,
        _places=NOWHERE,
    )


def _title(card: ProductCard) -> str:
    """What people type who look for it: the short texts, which also forgive a typing error."""
    return " ".join([card.name, card.sku, card.category or "", *card.tags])


STOCK: Final = frozenset({StockReceived, StockWithdrawn, StockReserved, StockReleased, StockSold, StockReturned})

PRODUCT_CARD: Final = Projection[ListedProduct](
    name="product_card",
    version=5,
    row=ListedProduct,
    begins=frozenset({ProductAdded}),
    handles=frozenset(
        {
            ProductAdded,
            ProductRepriced,
            ProductDescribed,
            ProductSkuChanged,
            ProductImageChanged,
            ProductDiscontinued,
            *STOCK,
        }
    ),
    key=By("product_id"),
    project=project,
    adds=dict.fromkeys(STOCK, ("product_id", "quantity")),
    rest=0.01,
    aside="_places",
    columns=(
        Column("name", "text", lambda card: sort_key(card.name)),
        Column("category", "text", lambda card: card.category),
        Column("tags", "text[]", lambda card: card.tags),
        Column("price", "numeric", lambda card: card.price.amount),
        Column("stock_available", "bigint", lambda card: card.stock_available),
        Column("sold", "bigint", lambda card: card.sold),
        Column("status", "text", lambda card: card.status.value),
        Column("created_at", "timestamptz", lambda card: card.created_at),
        Column("sku", "text", lambda card: normal_form(card.sku)),
        Column("title", "text", lambda card: " ".join(map(likeness, words_of(_title(card))))),
        Column("words", "text", lambda card: lexemes([*words_of(_title(card)), *words_of(card.description)])),
        Column("moved", "bigint", lambda card: card.places.moved),
        Column("_places", "jsonb", lambda card: dumps(card.places)),
    ),
    derived=("found_by tsvector GENERATED ALWAYS AS (words::tsvector) STORED",),
    indexes=(
        "(name, key) WHERE status = 'active'",
        "(category, name, key) WHERE status = 'active'",
        "(price, key) WHERE status = 'active'",
        "(created_at DESC, key DESC) WHERE status = 'active'",
        "(sold DESC, key DESC) WHERE status = 'active'",
        "(sold DESC, key DESC) WHERE status <> 'active'",
        "(sku) WHERE status = 'active'",
        # Entries that wait for a cleaning are read by every search: few may.
        "USING gin (tags) WITH (gin_pending_list_limit = 64)",
        "USING gin (found_by) WITH (gin_pending_list_limit = 64)",
        "USING gin (title gin_trgm_ops) WITH (gin_pending_list_limit = 64)",
        # Which rows have moved since a list was begun: few ever have, and what else happens to a row leaves it alone.
        "(moved) WHERE moved > 0",
    ),
)
