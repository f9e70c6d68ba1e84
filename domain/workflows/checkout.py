"""Checkout, where orders meet catalogue and stock: placing an order, changing it, and what that asks of the stock.

An order's event and the moves it asks for are appended in one unit of work. That is what makes the moves happen once:
an order is placed, paid, cancelled or refunded only once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias, assert_never
from uuid import UUID

from domain.catalogue import PRODUCTS, NotForSale, Product
from domain.inventory import INVENTORY, OutOfStock, ReleaseStock, ReserveStock, ReturnStock, SellStock
from domain.kernel.refusals import Refusal
from domain.kernel.unit_of_work import StreamRef, UnitOfWork, Workflow
from domain.orders import (
    ORDERS,
    Address,
    Order,
    OrderCancelled,
    OrderCommand,
    OrderCompleted,
    OrderEvent,
    OrderLine,
    OrderMoneyReturned,
    OrderOverpaid,
    OrderPaid,
    OrderPaymentFailed,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    PlaceOrder,
    has_gone_out,
    order_number,
)

StockMove: TypeAlias = ReserveStock | SellStock | ReleaseStock | ReturnStock


class UnknownProduct(Refusal):
    """The item names no product of the catalogue."""

    code = "unknown-product"


class Item(NamedTuple):
    """So many pieces of a product."""

    product_id: UUID
    quantity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NewOrder:
    """What a customer wants, as far as nothing has been looked up yet."""

    order_id: UUID
    customer_id: UUID
    items: Sequence[Item]
    placed_at: datetime
    expires_at: datetime
    shipping_address: Address | None = None

    @property
    def streams(self) -> list[StreamRef]:
        """What it is decided on: the order, which is begun, the stock and the product of each item."""
        products = [item.product_id for item in self.items]
        stock = [(INVENTORY, product_id) for product_id in products]
        return [(ORDERS, self.order_id), *stock, *((PRODUCTS, product_id) for product_id in products)]


def place_order(work: UnitOfWork, new: NewOrder) -> OrderPlaced:
    """Places the order at the prices of now, and reserves its stock. A refusal points at the item that is at fault."""
    lines = [
        order_line(work.state(PRODUCTS, item.product_id), item.quantity, f"/items/{place}")
        for place, item in enumerate(new.items)
    ]
    command = PlaceOrder(
        order_id=new.order_id,
        order_no=order_number(new.order_id, new.placed_at.year),
        customer_id=new.customer_id,
        lines=tuple(lines),
        expires_at=new.expires_at,
        shipping_address=new.shipping_address,
    )
    events = work.execute(ORDERS, new.order_id, command)
    for event in events:
        for place, move in enumerate(stock_moves(event)):
            _move(work, move, f"/items/{place}")
    return next(event for event in events if isinstance(event, OrderPlaced))


def change_order(order_id: UUID, order: Order, command: OrderCommand) -> Workflow:
    """A command on an order with what it moves in the stock, whoever gives it.

    What was ordered never changes, so an old state of the order is good enough to tell whose stock may move.
    """

    def decide(work: UnitOfWork) -> None:
        for event in work.execute(ORDERS, order_id, command):
            for move in stock_moves(event):
                work.execute(INVENTORY, move.product_id, move)

    return [(ORDERS, order_id), *((INVENTORY, line.product_id) for line in order.lines)], decide


def _move(work: UnitOfWork, move: StockMove, pointer: str) -> None:
    try:
        work.execute(INVENTORY, move.product_id, move)
    except OutOfStock as short:
        short.pointer = pointer
        raise


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
        case OrderRefunded():
            return () if has_gone_out(event.was) else _moves(ReturnStock, event.order_id, event.lines)
        case OrderOverpaid() | OrderPaymentFailed() | OrderMoneyReturned():
            return ()
        case OrderShipped() | OrderCompleted():
            return ()
        case _:
            assert_never(event)


def _moves(move: type[StockMove], order_id: UUID, lines: Sequence[OrderLine]) -> Sequence[StockMove]:
    return [move(product_id=line.product_id, order_id=order_id, quantity=line.quantity) for line in lines]
