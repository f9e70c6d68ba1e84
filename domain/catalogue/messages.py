"""Commands, events and refusals of the catalogue."""

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

from domain.catalogue.images import Image
from domain.kernel.messages import Command, Event
from domain.kernel.refusals import Refusal
from domain.money import Money


class Keep(Enum):
    """Stands for "as it is" where ``None`` is a value of its own."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


class NotForSale(Refusal):
    """The product is discontinued, so it can neither be changed nor ordered."""

    code = "not-for-sale"


@dataclass(frozen=True, kw_only=True)
class AddProduct(Command):
    """Put a product on sale. Prices are net; ``tax_rate`` is a share, 0 to 1."""

    product_id: UUID
    sku: str
    name: str
    price: Money
    description: str = ""
    tax_rate: Decimal = Decimal(0)
    category: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RepriceProduct(Command):
    """Sell the product at this price from now on; orders already placed keep theirs."""

    price: Money


@dataclass(frozen=True, kw_only=True)
class DescribeProduct(Command):
    """Change what is said about the product; what is left out stays as it is."""

    name: str | Keep = KEEP
    description: str | Keep = KEEP
    category: str | Keep | None = KEEP
    tags: tuple[str, ...] | Keep = KEEP
    tax_rate: Decimal | Keep = KEEP


@dataclass(frozen=True, kw_only=True)
class ChangeSku(Command):
    """Give the product another stock-keeping number."""

    sku: str


@dataclass(frozen=True, kw_only=True)
class ChangeImage(Command):
    """Show this picture of the product from now on. Its bytes are kept already."""

    image: Image


@dataclass(frozen=True, kw_only=True)
class DiscontinueProduct(Command):
    """Stop selling the product, for good; it stays readable."""


@dataclass(frozen=True, kw_only=True)
class ProductAdded(Event):
    """``sku_key`` is the normal form of the sku, under which it is claimed."""

    product_id: UUID
    sku: str
    sku_key: str
    name: str
    description: str
    price: Money
    tax_rate: Decimal
    category: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProductRepriced(Event):
    """The product has a new price."""

    product_id: UUID
    price: Money


@dataclass(frozen=True, kw_only=True)
class ProductDescribed(Event):
    """All that is said about the product from now on, changed or not."""

    product_id: UUID
    name: str
    description: str
    category: str | None
    tags: tuple[str, ...]
    tax_rate: Decimal


@dataclass(frozen=True, kw_only=True)
class ProductSkuChanged(Event):
    """The product has a new sku; the old one is free again."""

    product_id: UUID
    sku: str
    sku_key: str


@dataclass(frozen=True, kw_only=True)
class ProductImageChanged(Event):
    """The product is shown by another picture, or by its first one."""

    product_id: UUID
    image: Image


@dataclass(frozen=True, kw_only=True)
class ProductDiscontinued(Event):
    """The product is no longer sold. Its sku stays taken, because old orders name it."""

    product_id: UUID


ProductCommand: TypeAlias = AddProduct | RepriceProduct | DescribeProduct | ChangeSku | ChangeImage | DiscontinueProduct
ProductEvent: TypeAlias = (
    ProductAdded | ProductRepriced | ProductDescribed | ProductSkuChanged | ProductImageChanged | ProductDiscontinued
)
