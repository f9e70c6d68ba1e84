"""The rules of the catalogue: what the shop sells, at which price, and until when."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeVar, assert_never
from uuid import UUID

from domain.catalogue.images import Image, checked_image
from domain.catalogue.messages import (
    AddProduct,
    ChangeImage,
    ChangeSku,
    DescribeProduct,
    DiscontinueProduct,
    Keep,
    NotForSale,
    ProductAdded,
    ProductCommand,
    ProductDescribed,
    ProductDiscontinued,
    ProductEvent,
    ProductImageChanged,
    ProductRepriced,
    ProductSkuChanged,
    RepriceProduct,
)
from domain.kernel.decider import Claim, Decider
from domain.kernel.refusals import AlreadyExists, DoesNotExist, InvalidValue
from domain.money import Money, price
from domain.values import code, line, normal_form, rate, text

LONGEST_SKU: Final = 64
LONGEST_NAME: Final = 200
LONGEST_DESCRIPTION: Final = 10_000
LONGEST_CATEGORY: Final = 100
LONGEST_TAG: Final = 64
MOST_TAGS: Final = 32

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product as its events leave it."""

    product_id: UUID
    sku: str
    sku_key: str
    name: str
    description: str
    price: Money
    tax_rate: Decimal
    category: str | None
    tags: tuple[str, ...]
    image: Image | None = None
    discontinued: bool = False


def decide(command: ProductCommand, product: Product | None) -> Sequence[ProductEvent]:
    """What the command changes; nothing if it is so already."""
    if isinstance(command, AddProduct):
        return _add(command, product)
    known = _known(product)
    if isinstance(command, DiscontinueProduct):
        return [] if known.discontinued else [ProductDiscontinued(product_id=known.product_id)]
    if known.discontinued:
        raise NotForSale("the product is discontinued")
    match command:
        case RepriceProduct():
            wanted = price(command.price, "/price")
            return [] if wanted == known.price else [ProductRepriced(product_id=known.product_id, price=wanted)]
        case DescribeProduct():
            return _describe(command, known)
        case ChangeSku(sku=sku):
            return _change_sku(sku, known)
        case ChangeImage(image=image):
            return _change_image(image, known)
        case _:
            assert_never(command)


def evolve(product: Product | None, event: ProductEvent) -> Product:
    """The product after the event."""
    match event:
        case ProductAdded():
            return _added(event)
        case ProductRepriced():
            return replace(_known(product), price=event.price)
        case ProductDescribed():
            return replace(
                _known(product),
                name=event.name,
                description=event.description,
                category=event.category,
                tags=event.tags,
                tax_rate=event.tax_rate,
            )
        case ProductSkuChanged():
            return replace(_known(product), sku=event.sku, sku_key=event.sku_key)
        case ProductImageChanged():
            return replace(_known(product), image=event.image)
        case ProductDiscontinued():
            return replace(_known(product), discontinued=True)
        case _:
            assert_never(event)


def claims(product: Product | None, event: ProductEvent) -> Sequence[Claim]:
    """A sku belongs to one product, as long as that is sold."""
    if isinstance(event, ProductDiscontinued) and product is not None:
        return (Claim(scope="sku", key=product.sku_key, released=True),)
    if not isinstance(event, ProductAdded | ProductSkuChanged):
        return ()
    taken = Claim(scope="sku", key=event.sku_key, pointer="/sku")
    if product is None:
        return (taken,)
    if product.sku_key == event.sku_key:
        return ()
    return (Claim(scope="sku", key=product.sku_key, released=True), taken)


def _add(command: AddProduct, product: Product | None) -> Sequence[ProductEvent]:
    if product is not None:
        raise AlreadyExists("the product is in the catalogue already")
    sku = _sku(command.sku)
    return [
        ProductAdded(
            product_id=command.product_id,
            sku=sku,
            sku_key=normal_form(sku),
            name=_name(command.name),
            description=_description(command.description),
            price=price(command.price, "/price"),
            tax_rate=_tax_rate(command.tax_rate),
            category=_category(command.category),
            tags=_tags(command.tags),
        )
    ]


def _added(event: ProductAdded) -> Product:
    return Product(
        product_id=event.product_id,
        sku=event.sku,
        sku_key=event.sku_key,
        name=event.name,
        description=event.description,
        price=event.price,
        tax_rate=event.tax_rate,
        category=event.category,
        tags=event.tags,
    )


def _describe(command: DescribeProduct, product: Product) -> Sequence[ProductEvent]:
    said = ProductDescribed(
        product_id=product.product_id,
        name=_changed(command.name, product.name, _name),
        description=_changed(command.description, product.description, _description),
        category=_changed(command.category, product.category, _category),
        tags=_changed(command.tags, product.tags, _tags),
        tax_rate=_changed(command.tax_rate, product.tax_rate, _tax_rate),
    )
    return [] if evolve(product, said) == product else [said]


def _change_sku(sku: str, product: Product) -> Sequence[ProductEvent]:
    if sku == product.sku:
        return []
    wanted = _sku(sku)
    if wanted == product.sku:
        return []
    return [ProductSkuChanged(product_id=product.product_id, sku=wanted, sku_key=normal_form(wanted))]


def _change_image(image: Image, product: Product) -> Sequence[ProductEvent]:
    if image == product.image:
        return []
    return [ProductImageChanged(product_id=product.product_id, image=checked_image(image))]


def _changed(wanted: T | Keep, present: T, checked: Callable[[T], T]) -> T:
    """What is so already was taken by the rules of its day."""
    return present if isinstance(wanted, Keep) or wanted == present else checked(wanted)


def _sku(sku: str) -> str:
    return code(sku, "/sku", longest=LONGEST_SKU)


def _name(name: str) -> str:
    return line(name, "/name", longest=LONGEST_NAME)


def _description(description: str) -> str:
    return text(description, "/description", longest=LONGEST_DESCRIPTION, blank=True)


def _tax_rate(share: Decimal) -> Decimal:
    return rate(share, "/tax_rate")


def _category(category: str | None) -> str | None:
    return None if category is None else line(category, "/category", longest=LONGEST_CATEGORY)


def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The tags in their order, each once."""
    if len(tags) > MOST_TAGS:
        raise InvalidValue(f"may have at most {MOST_TAGS} tags", pointer="/tags")
    return tuple(dict.fromkeys(line(tag, f"/tags/{place}", longest=LONGEST_TAG) for place, tag in enumerate(tags)))


def _known(product: Product | None) -> Product:
    if product is None:
        raise DoesNotExist("there is no such product")
    return product


PRODUCTS: Final = Decider[ProductCommand, ProductEvent, Product | None](
    category="product", initial=None, decide=decide, evolve=evolve, claims=claims
)
