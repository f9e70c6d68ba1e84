"""A product to be put on sale, as every entrance takes it: what it may hold."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.catalogue import (
    LONGEST_CATEGORY,
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    LONGEST_SKU,
    LONGEST_TAG,
    MOST_TAGS,
    AddProduct,
)
from domain.kernel.unit_of_work import Workflow
from domain.values import MOST_PIECES
from domain.workflows.product_launch import launch_product
from infra.schemas.forms import AS_NUMBER
from infra.schemas.money import Body, MoneyBody, money
from infra.schemas.text import trimmed

Sku = Annotated[
    str,
    trimmed(LONGEST_SKU),
    Field(
        description="The shop's own number of the product, at most 64 characters. No two products on sale have the "
        "same, whatever the case of its letters."
    ),
]
Name = Annotated[
    str,
    trimmed(LONGEST_NAME),
    Field(description="What it is called, one line of 1 to 200 characters."),
]
Description = Annotated[
    str,
    Field(
        max_length=LONGEST_DESCRIPTION,
        description="What shoppers read about it, at most 10,000 characters.",
    ),
]
TaxRate = Annotated[
    Decimal,
    Field(
        ge=0,
        le=1,
        decimal_places=6,
        description="The tax on the net price as a share from 0 to 1 with at most six decimals: 0.19 is 19 %.",
    ),
    AS_NUMBER,
]
Category = Annotated[str, trimmed(LONGEST_CATEGORY)]
Tags = Annotated[
    list[Annotated[str, trimmed(LONGEST_TAG)]],
    Field(max_length=MOST_TAGS, description="Words to find it by, at most 32 of at most 64 characters each."),
]


class NewProduct(Body):
    """A new product. ``stock`` is how many pieces are there from the start."""

    sku: Sku
    name: Name
    price: MoneyBody
    """The net price of one piece."""
    description: Description = ""
    tax_rate: TaxRate = Decimal(0)
    category: Category | None = None
    """The one category it is listed in, at most 100 characters."""
    tags: Tags = Field(default_factory=list)
    stock: int = Field(0, ge=0, le=MOST_PIECES)
    """How many pieces there are from the start, 0 to 1,000,000."""


def launch_of(product_id: UUID, product: NewProduct) -> Workflow:
    """The workflow that puts it on sale. Raises what :func:`money` raises."""
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
    return launch_product(command, product.stock)
