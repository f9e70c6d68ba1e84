"""Changing the catalogue and the stock."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends
from pydantic import Field

from api.commands.authority import acting
from api.commands.dispatcher import CommandDispatcher
from api.http.fast_route import router
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Changes, MoneyBody
from api.uuid7 import new_id
from domain.catalogue import PRODUCTS, ChangeSku, DescribeProduct, DiscontinueProduct, RepriceProduct
from domain.inventory import INVENTORY, LONGEST_REASON, ChangeStock
from domain.kernel.refusals import DoesNotExist
from domain.kernel.unit_of_work import UnitOfWork
from domain.values import MOST_PIECES
from domain.workflows.product_launch import NEW_STREAMS
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.schemas.money import money
from infra.schemas.product import (
    Category,
    Description,
    Name,
    NewProduct,
    Sku,
    Tags,
    TaxRate,
    launch_of,
)
from infra.schemas.text import trimmed

routes = router(tags=["catalogue"])

Catalogue = Annotated[CommandDispatcher, Depends(acting("catalogue:write"))]


class ProductChanges(Changes):
    """What is to change; a field that is left out stays as it is."""

    sku: Sku = ""
    name: Name = ""
    price: MoneyBody = Field(default_factory=MoneyBody.model_construct)
    """The net price of one piece from now on; orders that are placed keep theirs."""
    description: Description = ""
    tax_rate: TaxRate = Decimal(0)
    category: Category | None = None
    """The one category it is listed in, at most 100 characters; null takes it out of its category."""
    tags: Tags = Field(default_factory=list)


class StockBody(Body):
    """Pieces that came in (``change`` > 0) or are gone (< 0)."""

    change: int = Field(ge=-MOST_PIECES, le=MOST_PIECES)
    """How many pieces more, or fewer if below zero: at most 1,000,000 either way, and not 0."""
    reason: Annotated[str, trimmed(LONGEST_REASON)]
    """Why, 1 to 200 characters: it is kept with the change."""


@routes.post("/v1/products", status_code=201)
@limited("write")
@refuses("already-taken", "invalid-value", "invalid-amount", "unknown-currency")
async def add_product(body: NewProduct, commands: Catalogue) -> Receipt:
    """Put a product on sale, with its first stock. A taken sku is ``already-taken``."""
    targets, decide = launch_of(new_id(), body)
    return await commands.run(targets, decide, new=NEW_STREAMS, location=_location)


@routes.patch("/v1/products/{product_id}")
@limited("write")
@refuses("already-taken", "not-for-sale", "invalid-value", "invalid-amount", "unknown-currency")
async def change_product(product_id: UUID, body: ProductChanges, commands: Catalogue) -> Receipt:
    """Change what is said about a product, what it costs, or its sku: all of it or nothing."""
    changes = _changes(body)

    def decide(work: UnitOfWork) -> None:
        _existing(work, product_id)
        for command in changes:
            work.execute(PRODUCTS, product_id, command)

    return await commands.run([(PRODUCTS, product_id)], decide)


@routes.post("/v1/products/{product_id}/stock")
@limited("write")
@refuses("out-of-stock", "invalid-value")
async def change_stock(product_id: UUID, body: StockBody, commands: Catalogue) -> Receipt:
    """Count pieces in or out. Below zero is ``out-of-stock``."""
    command = ChangeStock(product_id=product_id, change=body.change, reason=body.reason)

    def decide(work: UnitOfWork) -> None:
        _existing(work, product_id)
        work.execute(INVENTORY, product_id, command)

    return await commands.run([(PRODUCTS, product_id), (INVENTORY, product_id)], decide)


@routes.delete("/v1/products/{product_id}")
@limited("write")
async def discontinue_product(product_id: UUID, commands: Catalogue) -> Receipt:
    """Stop selling a product. It stays readable."""
    return await commands.handle((PRODUCTS, product_id), DiscontinueProduct())


def _changes(body: ProductChanges) -> list[Any]:
    given = {name: getattr(body, name) for name in body.model_fields_set}
    commands: list[Any] = []
    if "sku" in given:
        commands.append(ChangeSku(sku=given["sku"]))
    if "price" in given:
        commands.append(RepriceProduct(price=money(given["price"], "/price")))
    described: dict[str, Any] = {
        name: given[name] for name in ("name", "description", "category", "tax_rate") if name in given
    }
    if "tags" in given:
        described["tags"] = tuple(given["tags"])
    if described:
        commands.append(DescribeProduct(**described))
    return commands


def _existing(work: UnitOfWork, product_id: UUID) -> None:
    if work.state(PRODUCTS, product_id) is None:
        raise DoesNotExist("there is no such product")


def _location(outcome: CommandOutcome) -> str:
    return f"/v1/products/{outcome.id}"
