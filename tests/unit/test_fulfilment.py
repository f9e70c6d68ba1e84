"""What may be ordered, and what an order asks of the stock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import PRODUCTS, NotForSale, Product, ProductDiscontinued
from domain.inventory import INVENTORY, ReleaseStock, ReserveStock, ReturnStock, SellStock, Stock
from domain.kernel.refusals import Refusal
from domain.orders import (
    ORDERS,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    ExpireOrder,
    Order,
    OrderCommand,
    OrderStatus,
    RefundOrder,
)
from domain.workflows.checkout import StockMove, UnknownProduct, order_line, stock_moves
from tests import builders
from tests.builders import EXPIRES_AT, ORDER_ID, PRODUCT_ID, pay_order, place_order, product_added, ship_order
from tests.spec import Spec

products = Spec(PRODUCTS)


def _product(*more: ProductDiscontinued) -> Product:
    state = products.given(product_added(), *more).state
    assert state is not None
    return state


def _two(move: type[StockMove]) -> StockMove:
    return move(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=2)


def test_a_line_keeps_the_price_the_tax_and_the_name_of_the_day() -> None:
    assert order_line(_product(), 2, "/items/0") == builders.order_line()


def test_a_product_that_is_unknown_or_discontinued_cannot_be_ordered() -> None:
    with pytest.raises(UnknownProduct) as unknown:
        order_line(None, 1, "/items/3")
    assert unknown.value.pointer == "/items/3/product_id"
    with pytest.raises(NotForSale) as gone:
        order_line(_product(ProductDiscontinued(product_id=PRODUCT_ID)), 1, "/items/0")
    assert gone.value.pointer == "/items/0/product_id"


def test_each_step_of_an_order_moves_its_pieces() -> None:
    assert stock_moves(builders.order_placed()) == [_two(ReserveStock)]
    assert stock_moves(builders.order_paid()) == [_two(SellStock)]
    assert stock_moves(builders.order_cancelled()) == [_two(ReleaseStock)]
    assert stock_moves(builders.order_refunded()) == [_two(ReturnStock)]


def test_pieces_that_have_left_the_house_do_not_come_back_with_the_money() -> None:
    assert stock_moves(builders.order_refunded(was=OrderStatus.SHIPPED)) == ()
    assert stock_moves(builders.order_refunded(was=OrderStatus.DONE)) == ()


def test_steps_that_move_no_pieces_ask_nothing() -> None:
    assert stock_moves(builders.order_shipped()) == ()
    assert stock_moves(builders.order_completed()) == ()


wishes: st.SearchStrategy[OrderCommand] = st.sampled_from(
    [
        place_order(),
        pay_order(),
        pay_order(payment_id="pay-2"),
        ship_order(),
        CompleteOrder(),
        CancelOrder(by=CancelledBy.STAFF),
        ExpireOrder(now=EXPIRES_AT),
        RefundOrder(),
    ]
)
FREE, PROMISED, SOLD = Stock(available=10), Stock(available=8, reserved=2), Stock(available=8, sold=2)
WHERE = {
    None: (FREE,),
    "pending": (PROMISED,),
    "paid": (SOLD,),
    "shipped": (SOLD,),
    "done": (SOLD,),
    "cancelled": (FREE,),
    "refunded": (FREE, SOLD),
}


@given(st.lists(wishes, max_size=20))
def test_the_stock_always_agrees_with_the_order(asked: list[OrderCommand]) -> None:
    order: Order | None = None
    stock = FREE
    for command in asked:
        try:
            events = ORDERS.decide(command, order)
        except Refusal:
            continue
        for event in events:
            order = ORDERS.evolve(order, event)
            for move in stock_moves(event):
                for moved in INVENTORY.decide(move, stock):
                    stock = INVENTORY.evolve(stock, moved)
        status = order.status if order else None
        assert stock in WHERE[status]
