"""Public shapes of the catalogue's events: what subscribers of webhooks are told, and all that they are told.

See :mod:`domain.orders.public_events` for what a shape promises.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never
from uuid import UUID

from domain.catalogue.messages import (
    ProductAdded,
    ProductDescribed,
    ProductDiscontinued,
    ProductEvent,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
)
from domain.money import Money


@dataclass(frozen=True, kw_only=True)
class ProductData:
    """What every event of a product tells."""

    product_id: UUID


@dataclass(frozen=True, kw_only=True)
class DescribedProduct(ProductData):
    """All that is said about the product from now on, changed or not."""

    name: str
    description: str
    category: str | None
    tags: tuple[str, ...]
    tax_rate: Decimal


@dataclass(frozen=True, kw_only=True)
class AddedProduct(DescribedProduct):
    """The product is on sale, at this net price."""

    sku: str
    price: Money


@dataclass(frozen=True, kw_only=True)
class RepricedProduct(ProductData):
    """The product has a new net price."""

    price: Money


@dataclass(frozen=True, kw_only=True)
class RenumberedProduct(ProductData):
    """The product has a new sku."""

    sku: str


def public(event: ProductEvent) -> ProductData | None:
    """What is told of an event outside; None of one that is nobody's business there."""
    match event:
        case ProductAdded():
            return _added(event)
        case ProductRepriced():
            return RepricedProduct(product_id=event.product_id, price=event.price)
        case ProductDescribed():
            return _described(event)
        case ProductSkuChanged():
            return RenumberedProduct(product_id=event.product_id, sku=event.sku)
        case ProductDiscontinued():
            return ProductData(product_id=event.product_id)
        case ProductImageChanged():
            return None
        case _:
            assert_never(event)


def _added(event: ProductAdded) -> AddedProduct:
    return AddedProduct(
        product_id=event.product_id,
        name=event.name,
        description=event.description,
        category=event.category,
        tags=event.tags,
        tax_rate=event.tax_rate,
        sku=event.sku,
        price=event.price,
    )


def _described(event: ProductDescribed) -> DescribedProduct:
    return DescribedProduct(
        product_id=event.product_id,
        name=event.name,
        description=event.description,
        category=event.category,
        tags=event.tags,
        tax_rate=event.tax_rate,
    )
