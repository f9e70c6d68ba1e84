"""Checkout, where orders meet catalogue and stock: what may be ordered, and what an event asks of the stock.

An order's event and the moves it asks for are appended in one unit of work. That is what makes the moves happen once:
an order is placed, paid, cancelled or refunded only once.
"""

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from domain.catalogue import NotForSale, Product
from domain.inventory import ReleaseStock, ReserveStock, ReturnStock, SellStock
from domain.kernel.refusals import Refusal
from domain.orders import (
    OrderCancelled,
    OrderEvent,
    OrderLine,
    OrderPaid,
    OrderPlaced,
    OrderRefunded,
    OrderStatus,
)

StockMove: TypeAlias = ReserveStock | SellStock | ReleaseStock | ReturnStock


class UnknownProduct(Refusal):
    """The item names no product of the catalogue."""

    code = "unknown-product"


def order_line(product: Product | None, quantity: int, pointer: str) -> OrderLine:
    """The line of an order for so many pieces, at the product's price of now; ``pointer`` names the item."""
    if product is None:
        raise UnknownProduct("there is no such product", pointer=f"{pointer}/product_id")
    if product.discontinued:
        raise NotForSale("the product is discontinued", pointer=f"{pointer}/product_id")
    return OrderLine(
        product_id=product.product_id,
        sku=product.sku,
        name=product.name,
        quantity=quantity,
        unit_price=product.price,
        tax_rate=product.tax_rate,
    )


def stock_moves(event: OrderEvent) -> Sequence[StockMove]:
    """The commands to the inventory of each line's product that belong to the event.

    A refund brings back only pieces that had not left the house; what comes back by parcel, the staff count.
    """
    match event:
        case OrderPlaced():
            return _moves(ReserveStock, event.order_id, event.lines)
        case OrderPaid():
            return _moves(SellStock, event.order_id, event.lines)
        case OrderCancelled():
            return _moves(ReleaseStock, event.order_id, event.lines)
        case OrderRefunded(was=OrderStatus.PAID):
            return _moves(ReturnStock, event.order_id, event.lines)
        case _:
            return ()


def _moves(move: type[StockMove], order_id: UUID, lines: Sequence[OrderLine]) -> Sequence[StockMove]:
    return [move(product_id=line.product_id, order_id=order_id, quantity=line.quantity) for line in lines]
