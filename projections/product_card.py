"""The read model of one product: what the catalogue says of it and what the inventory holds.

A product and its stock are two streams of one entity, and so in one shard: one owner folds both into one row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
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
from domain.kernel.messages import Event, Recorded
from domain.money import Money
from domain.values import normal_form
from infra.eventsourcing.codec import dumps
from infra.eventsourcing.projections.fold_table import FoldFunctions
from infra.eventsourcing.projections.projection import By, Column, Projection, amend, make
from projections.sort_history import FormerPlaces, with_former_place
from projections.words import lexemes, likeness, sort_key, words_of


class ProductStatus(StrEnum):
    """Whether the product can be ordered."""

    ACTIVE = "active"
    DISCONTINUED = "discontinued"


@dataclass(frozen=True, kw_only=True)
class ProductCard:
    """The product document. ``version`` is the product's own: its stock is another stream, with versions of its own."""

    id: UUID
    """The product's id."""
    sku: str
    """The shop's own number of it."""
    name: str
    """What it is called."""
    description: str
    """What shoppers read about it."""
    price: Money
    """The net price of one piece."""
    tax_rate: Decimal
    """The tax on it, a share from 0 to 1 as an exact decimal in a string: `"0.19"` is 19 %."""
    category: str | None
    """The one category it is listed in."""
    tags: tuple[str, ...]
    """Words to find it by."""
    stock_available: int
    """How many pieces are free: neither sold nor promised to an order."""
    status: ProductStatus
    """Whether it is on sale."""
    image_url: str | None
    """Where its picture is, below the API's address. The same URL always shows the same picture."""
    sold: int
    """How many pieces were sold and not given back."""
    version: int
    """How many events it has, without those of its stock: in quotes, what `If-Match` takes."""
    created_at: datetime
    """When it was put on sale."""
    updated_at: datetime
    """When it or its stock last changed."""


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


# Order is promised within a stream only, so each of the two streams changes what the other does not.


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


def _more(card: ListedProduct, moved: StockReceived | StockReleased, event: Recorded) -> ListedProduct:
    return amend(card, updated_at=_latest(card, event), stock_available=card.stock_available + moved.quantity)


def _fewer(card: ListedProduct, moved: StockReserved | StockWithdrawn, event: Recorded) -> ListedProduct:
    return amend(card, updated_at=_latest(card, event), stock_available=card.stock_available - moved.quantity)


def _sold(card: ListedProduct, moved: StockSold, event: Recorded) -> ListedProduct:
    return amend(card, updated_at=_latest(card, event), sold=card.sold + moved.quantity)


def _returned(card: ListedProduct, moved: StockReturned, event: Recorded) -> ListedProduct:
    free, sold = card.stock_available + moved.quantity, card.sold - moved.quantity
    return amend(card, updated_at=_latest(card, event), stock_available=free, sold=sold)


def _repriced(card: ListedProduct, change: ProductRepriced, event: Recorded) -> ListedProduct:
    return _placed_anew(card, amend(_touched(card, event), price=change.price), event.position)


def _described(card: ListedProduct, said: ProductDescribed, event: Recorded) -> ListedProduct:
    described = amend(
        _touched(card, event),
        name=said.name,
        description=said.description,
        category=said.category,
        tags=said.tags,
        tax_rate=said.tax_rate,
    )
    return _placed_anew(card, described, event.position)


def _sku_changed(card: ListedProduct, change: ProductSkuChanged, event: Recorded) -> ListedProduct:
    return amend(_touched(card, event), sku=change.sku)


def _image_changed(card: ListedProduct, change: ProductImageChanged, event: Recorded) -> ListedProduct:
    return amend(_touched(card, event), image_url=image_url(card.id, change.image.file))


def _discontinued(card: ListedProduct, _: ProductDiscontinued, event: Recorded) -> ListedProduct:
    return amend(_touched(card, event), status=ProductStatus.DISCONTINUED)


def _touched(card: ListedProduct, event: Recorded) -> ListedProduct:
    """The card as an event of its own stream leaves it, whatever that says."""
    return amend(card, version=event.version, updated_at=_latest(card, event))


def _latest(card: ListedProduct, event: Recorded) -> datetime:
    return max(card.updated_at, event.recorded_at)


def _placed_anew(before: ListedProduct, card: ListedProduct, position: int) -> ListedProduct:
    """The card, and where it stood in lists before, if it has moved."""
    if (card.price, card.name) == (before.price, before.name):
        return card
    places = make(
        FormerlyAt,
        name=with_former_place(before.places.name, sort_key(before.name), sort_key(card.name), position),
        price=with_former_place(before.places.price, before.price.amount, card.price.amount, position),
    )
    return amend(card, _places=places)


STOCK: Final[Mapping[type[Event], Callable[[ListedProduct, Any, Recorded], ListedProduct]]] = {
    StockReceived: _more,
    StockReleased: _more,
    StockReserved: _fewer,
    StockWithdrawn: _fewer,
    StockSold: _sold,
    StockReturned: _returned,
}
FOLDS: Final = FoldFunctions[ListedProduct](
    creates={ProductAdded: _added},
    changes={
        ProductRepriced: _repriced,
        ProductDescribed: _described,
        ProductSkuChanged: _sku_changed,
        ProductImageChanged: _image_changed,
        ProductDiscontinued: _discontinued,
        **STOCK,
    },
)


def _title(card: ProductCard) -> str:
    """What people type who look for it: the short texts, which also forgive a typing error."""
    return " ".join([card.name, card.sku, card.category or "", *card.tags])


PRODUCT_CARD: Final = Projection[ListedProduct](
    name="product_card",
    version=7,
    row=ListedProduct,
    creates=FOLDS.creates,
    handles=FOLDS.handles,
    key=By("product_id"),
    project=FOLDS,
    adds=dict.fromkeys(STOCK, ("product_id", "quantity")),
    rest=0.01,
    memo="_places",
    columns=(
        Column("name", "text", lambda card: sort_key(card.name), collation="C"),
        Column("category", "text", lambda card: card.category and card.category.strip()),
        Column("tags", "text[]", lambda card: tuple(tag.strip() for tag in card.tags)),
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
