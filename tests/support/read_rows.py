"""Rows of the shop's read models, written as its consumers would, without the way there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from domain.accounts import Role
from domain.money import Money
from domain.orders import OrderStatus
from infra.eventsourcing.projections.fold import Kept, written
from infra.eventsourcing.projections.generations import FIRST, install
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.row_table import Table
from infra.postgres.pool import Database
from projections.account_card import ACCOUNT_CARD, AccountCard
from projections.order_summary import ORDER_SUMMARY, OrderSummary
from projections.product_card import PRODUCT_CARD, ListedProduct, ProductStatus
from projections.registry import PROJECTIONS

NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)


def entity(number: int) -> UUID:
    """The id of the thing with this number; they sort as their numbers do."""
    return UUID(int=(0x019A << 112) | (7 << 76) | (2 << 62) | number)


def product(number: int, *, price: str = "10.00", **changes: Any) -> ListedProduct:
    """A product; they are as old as their numbers are small."""
    card = ListedProduct(
        id=entity(number),
        sku=f"SKU-{number}",
        name=f"Product {number:03}",
        description="Good to have.",
        price=Money(amount=Decimal(price), currency="EUR"),
        tax_rate=Decimal("0.19"),
        category=None,
        tags=(),
        stock_available=5,
        status=ProductStatus.ACTIVE,
        image_url=None,
        sold=0,
        version=1,
        created_at=NOON + timedelta(seconds=number),
        updated_at=NOON + timedelta(seconds=number),
    )
    return replace(card, **changes)


def order(number: int, customer: UUID, **changes: Any) -> OrderSummary:
    """An order, placed so many minutes after noon."""
    euros = Money(amount=Decimal("10.00"), currency="EUR")
    summary = OrderSummary(
        id=entity(number),
        order_no=f"W-2026-{number:08}",
        customer_id=customer,
        status=OrderStatus.PENDING,
        items=(),
        subtotal=euros,
        tax=euros,
        total=euros,
        shipping_address=None,
        tracking=None,
        placed_at=NOON + timedelta(minutes=number),
        paid_at=None,
        shipped_at=None,
        done_at=None,
        cancelled_at=None,
        version=1,
    )
    return replace(summary, **changes)


def account(number: int, **changes: Any) -> AccountCard:
    """A customer's account; they are as old as their numbers are small."""
    card = AccountCard(
        id=entity(number),
        email=f"Person{number:03}@Example.org",
        email_verified=False,
        username=f"Person{number:03}",
        full_name=None,
        bio=None,
        roles=(Role.CUSTOMER,),
        active=True,
        created_at=NOON + timedelta(seconds=number),
        updated_at=NOON + timedelta(seconds=number),
        version=1,
    )
    return replace(card, **changes)


async def put(database: Database, *rows: ListedProduct | OrderSummary | AccountCard, position: int = 1) -> None:
    """Writes the rows as of a position, in place of what was there."""
    async with database.session() as session:
        projections: tuple[Projection[Any], ...] = (PRODUCT_CARD, ORDER_SUMMARY, ACCOUNT_CARD)
        for projection in projections:
            own = [row for row in rows if isinstance(row, projection.row)]
            await Table(projection, FIRST).put(session, _written(projection, own, position))


def _written(projection: Projection[Any], rows: Sequence[Any], position: int) -> list[Any]:
    return [written(projection, str(row.id), Kept(position, row)) for row in rows]


async def remove(database: Database, *numbers: int) -> None:
    """Takes products out."""
    await database.execute("DELETE FROM rm_product_card_1 WHERE key = ANY($1)", [str(entity(n)) for n in numbers])


async def lay_down(database: Database) -> None:
    """The empty read models."""
    async with database.session() as session:
        await install(session, PROJECTIONS)
