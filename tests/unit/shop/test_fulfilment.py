"""What may be ordered, and what an order asks of the stock."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import PRODUCTS, NotForSale, Product, ProductDiscontinued
from domain.inventory import INVENTORY, OutOfStock, ReleaseStock, ReserveStock, ReturnStock, SellStock, Stock
from domain.kernel.decider import Decider
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
from domain.workflows.checkout import (
    Item,
    NewOrder,
    StockMove,
    UnknownProduct,
    change_order,
    order_line,
    place_order,
    stock_moves,
)
from domain.workflows.product_launch import NEW_STREAMS, launch_product
from tests.support import builders
from tests.support.builders import ACCOUNT_ID, EXPIRES_AT, ORDER_ID, PRODUCT_ID, pay_order, product_added, ship_order
from tests.support.spec import Spec

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

products = Spec(PRODUCTS)
NEW_YEARS_EVE = datetime(2095, 12, 31, 23, 45, tzinfo=UTC)


class Memory:
    """A unit of work over nothing but what it was given."""

    def __init__(self, product: Product | None, stock: Stock) -> None:
        self.answer: dict[str, Any] = {}
        self.states: dict[str, Any] = {"product": product, "inventory": stock, "order": None}

    def state(self, decider: Decider[Any, Any, S], _entity_id: UUID) -> S:
        state: S = self.states[decider.category]
        return state

    def execute(self, decider: Decider[C, E, S], _entity_id: UUID, command: C) -> Sequence[E]:
        state: S = self.states[decider.category]
        events = decider.decide(command, state)
        for event in events:
            state = decider.evolve(state, event)
        self.states[decider.category] = state
        return events


def _wanted(quantity: int = 2) -> NewOrder:
    items = [Item(PRODUCT_ID, quantity)]
    return NewOrder(
        order_id=ORDER_ID, customer_id=ACCOUNT_ID, items=items, placed_at=NEW_YEARS_EVE, expires_at=EXPIRES_AT
    )


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
        builders.place_order(),
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


def test_an_order_is_placed_at_the_prices_of_now_and_has_its_stock() -> None:
    work = Memory(_product(), FREE)
    placed = place_order(work, _wanted())
    assert (placed.lines, placed.total) == ((builders.order_line(),), work.states["order"].total)
    assert work.states["inventory"] == PROMISED


def test_the_number_of_an_order_has_the_year_in_which_it_is_placed_whenever_it_is_to_be_paid() -> None:
    placed = place_order(Memory(_product(), FREE), _wanted())
    assert (placed.order_no[:7], placed.expires_at.year) == ("W-2095-", 2096)


def test_a_refused_item_is_pointed_at() -> None:
    with pytest.raises(UnknownProduct) as unknown:
        place_order(Memory(None, FREE), _wanted())
    assert unknown.value.pointer == "/items/0/product_id"
    with pytest.raises(OutOfStock) as short:
        place_order(Memory(_product(), FREE), _wanted(11))
    assert short.value.pointer == "/items/0"


def test_an_order_that_costs_nothing_is_paid_and_its_stock_sold_at_once() -> None:
    work = Memory(replace(_product(), price=builders.euros("0.00")), FREE)
    place_order(work, _wanted())
    assert (work.states["order"].status, work.states["inventory"]) == (OrderStatus.PAID, SOLD)


def test_what_is_decided_on_is_what_may_move_and_the_order_comes_first() -> None:
    assert [(rules.category, id_) for rules, id_ in _wanted().streams] == [
        ("order", ORDER_ID),
        ("inventory", PRODUCT_ID),
        ("product", PRODUCT_ID),
    ]
    work = Memory(_product(), FREE)
    place_order(work, _wanted())
    streams, decide = change_order(ORDER_ID, work.states["order"], CancelOrder(by=CancelledBy.STAFF))
    assert streams == [(ORDERS, ORDER_ID), (INVENTORY, PRODUCT_ID)]
    decide(work)
    assert (work.states["order"].status, work.states["inventory"]) == (OrderStatus.CANCELLED, FREE)


@pytest.mark.parametrize("stock", [0, 10])
def test_a_product_comes_with_its_first_stock(stock: int) -> None:
    work = Memory(None, INVENTORY.initial)
    streams, decide = launch_product(builders.add_product(), stock)
    assert streams == [(PRODUCTS, PRODUCT_ID), (INVENTORY, PRODUCT_ID)]
    assert len(streams) == NEW_STREAMS
    decide(work)
    assert (work.states["product"], work.states["inventory"]) == (_product(), Stock(available=stock))
