"""A product to be put on sale, as every entrance takes it: what it may hold, and the unit of work that adds it."""

from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from domain.catalogue import (
    LONGEST_CATEGORY,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    LONGEST_SKU,
    LONGEST_TAG,
    MOST_TAGS,
    PRODUCTS,
    AddProduct,
)
from domain.inventory import INVENTORY, ChangeStock
from domain.values import MOST_PIECES
from infra.eventsourcing.commands.attempt import Decide
from infra.eventsourcing.commands.unit_of_work import StreamRef, UnitOfWork
from infra.schemas.forms import AS_NUMBER
from infra.schemas.money import Body, MoneyBody, money

NEW_STREAMS: Final = 2
"""Both streams of the work are begun by it: the product's and its stock's."""

Sku = Annotated[str, Field(min_length=1, max_length=LONGEST_SKU)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Description = Annotated[str, Field(max_length=LONGEST_DESCRIPTION)]
TaxRate = Annotated[Decimal, Field(ge=0, le=1, decimal_places=6, description="a share: 0.19 is 19 %"), AS_NUMBER]
Category = Annotated[str, Field(min_length=1, max_length=LONGEST_CATEGORY)]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=LONGEST_TAG)]], Field(max_length=MOST_TAGS)]


class NewProduct(Body):
    """A new product. ``stock`` is how many pieces are there from the start."""

    sku: Sku
    name: Name
    price: MoneyBody
    description: Description = ""
    tax_rate: TaxRate = Decimal(0)
    category: Category | None = None
    tags: Tags = Field(default_factory=list)
    stock: int = Field(0, ge=0, le=MOST_PIECES)


def new_product_work(product_id: UUID, product: NewProduct) -> tuple[list[StreamRef], Decide]:
    """The two streams that the product begins, and the decision on them. Raises what :func:`money` raises."""
    command = AddProduct(
        product_id=product_id,
        sku=product.sku,
        name=product.name,
        price=money(product.price, "/price"),
        description=product.description,
        tax_rate=product.tax_rate,
        category=product.category,
        tags=tuple(product.tags),
    )

    def decide(work: UnitOfWork) -> None:
        work.execute(PRODUCTS, product_id, command)
        if product.stock:
            first = ChangeStock(product_id=product_id, change=product.stock, reason="first stock")
            work.execute(INVENTORY, product_id, first)

    return [(PRODUCTS, product_id), (INVENTORY, product_id)], decide
