"""Pieces are free, promised or sold, and none is ever made up or lost."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.inventory import (
    INVENTORY,
    MOST_IN_STOCK,
    ChangeStock,
    OutOfStock,
    ReleaseStock,
    ReserveStock,
    ReturnStock,
    SellStock,
    Stock,
    StockCommand,
    StockMismatch,
    StockReceived,
    StockReleased,
    StockReserved,
    StockReturned,
    StockSold,
    StockWithdrawn,
)
from domain.kernel.refusals import InvalidValue, Refusal
from tests.support.builders import ORDER_ID, OTHER_PRODUCT_ID, PRODUCT_ID, reserve_stock, stock_received
from tests.support.spec import Spec

stock = Spec(INVENTORY)
RECEIVED = stock_received(10)


def change(pieces: int, reason: str = "count") -> ChangeStock:
    return ChangeStock(product_id=PRODUCT_ID, change=pieces, reason=reason)


def reserved(pieces: int) -> StockReserved:
    return StockReserved(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=pieces)


def sold(pieces: int) -> StockSold:
    return StockSold(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=pieces)


def release(pieces: int) -> ReleaseStock:
    return ReleaseStock(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=pieces)


def sell(pieces: int) -> SellStock:
    return SellStock(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=pieces)


def give_back(pieces: int) -> ReturnStock:
    return ReturnStock(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=pieces)


def test_pieces_come_in_and_go() -> None:
    stock.when(change(4)).then(StockReceived(product_id=PRODUCT_ID, quantity=4, reason="count"))
    stock.given(RECEIVED).when(change(-10)).then(StockWithdrawn(product_id=PRODUCT_ID, quantity=10, reason="count"))


def test_no_more_can_go_than_are_free() -> None:
    stock.given(RECEIVED, reserved(7)).when(change(-4)).then_refused(OutOfStock)
    stock.when(change(-1)).then_refused(OutOfStock)


def test_an_order_gets_pieces_down_to_the_last() -> None:
    stock.given(RECEIVED).when(reserve_stock(10)).then(reserved(10))


def test_an_order_cannot_get_more_than_are_free() -> None:
    stock.given(RECEIVED, reserved(8)).when(reserve_stock(3)).then_refused(OutOfStock)


def test_a_product_without_stock_is_out_of_stock() -> None:
    stock.when(reserve_stock(1)).then_refused(OutOfStock)


def test_out_of_stock_names_the_product() -> None:
    refusal = OutOfStock(PRODUCT_ID)
    assert refusal.product_id == PRODUCT_ID
    assert str(PRODUCT_ID) in refusal.detail


def test_promised_pieces_are_released_or_sold_and_sold_ones_returned() -> None:
    stock.given(RECEIVED, reserved(3)).when(release(3)).then(
        StockReleased(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=3)
    )
    stock.given(RECEIVED, reserved(3)).when(sell(3)).then(sold(3))
    stock.given(RECEIVED, reserved(3), sold(3)).when(give_back(3)).then(
        StockReturned(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=3)
    )


@pytest.mark.parametrize("command", [release(4), sell(4), give_back(1), release(0), sell(-1)])
def test_more_than_is_promised_or_sold_is_a_mismatch(command: StockCommand) -> None:
    stock.given(RECEIVED, reserved(3)).when(command).then_refused(StockMismatch)


def test_each_move_counts_where_the_pieces_are() -> None:
    history = stock.given(RECEIVED, reserved(4), reserved(3))
    assert history.state == Stock(available=3, reserved=7, sold=0)
    history = history.and_given(sold(4), StockReleased(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=3))
    assert history.state == Stock(available=6, reserved=0, sold=4)
    history = history.and_given(StockReturned(product_id=PRODUCT_ID, order_id=ORDER_ID, quantity=1))
    assert history.state == Stock(available=7, reserved=0, sold=3)
    history = history.and_given(StockWithdrawn(product_id=PRODUCT_ID, quantity=7, reason="broken"))
    assert history.state == Stock(available=0, reserved=0, sold=3)


@pytest.mark.parametrize("pieces", [0, -1, 1_000_001, 2**63])
def test_a_quantity_out_of_bounds_is_refused(pieces: int) -> None:
    stock.given(RECEIVED).when(reserve_stock(pieces)).then_refused(InvalidValue, pointer="/quantity")


@pytest.mark.parametrize("pieces", [0, 1_000_001, -1_000_001])
def test_a_change_out_of_bounds_is_refused(pieces: int) -> None:
    stock.given(RECEIVED).when(change(pieces)).then_refused(InvalidValue, pointer="/change")


def test_a_change_says_why() -> None:
    stock.when(change(1, reason="")).then_refused(InvalidValue, pointer="/reason")


def test_the_shop_can_hold_only_so_much() -> None:
    full = stock_received(MOST_IN_STOCK)
    stock.given(full).when(change(1)).then_refused(InvalidValue, pointer="/change")
    stock.given(full, reserved(5), sold(5)).when(change(5)).then(
        StockReceived(product_id=PRODUCT_ID, quantity=5, reason="count")
    )


def test_a_products_stock_has_a_stream_of_its_own_that_never_moves() -> None:
    assert INVENTORY.stream_id(PRODUCT_ID) == UUID("e90aaf65-3048-5288-8b2c-6cd552b2314c")
    assert INVENTORY.stream_id(PRODUCT_ID) != INVENTORY.stream_id(OTHER_PRODUCT_ID)


@given(st.uuids())
def test_the_stream_of_a_stock_is_named_by_its_product_as_rfc_9562_names_things(product_id: UUID) -> None:
    namespace = UUID("a3f177b1-b8ed-5068-8e35-12812522d4cb")
    assert INVENTORY.stream_id(product_id) == uuid5(namespace, f"inventory:{product_id}")


pieces = st.integers(min_value=1, max_value=12)
commands: st.SearchStrategy[StockCommand] = st.one_of(
    st.integers(min_value=-12, max_value=12).filter(bool).map(change),
    pieces.map(reserve_stock),
    pieces.map(release),
    pieces.map(sell),
    pieces.map(give_back),
)


@given(st.lists(commands, max_size=40))
def test_no_sequence_of_commands_makes_a_number_negative_or_loses_a_piece(asked: list[StockCommand]) -> None:
    now, came, went = Stock(), 0, 0
    for command in asked:
        try:
            events = INVENTORY.decide(command, now)
        except Refusal:
            continue
        for event in events:
            now = INVENTORY.evolve(now, event)
            came += event.quantity if isinstance(event, StockReceived) else 0
            went += event.quantity if isinstance(event, StockWithdrawn) else 0
            assert min(now.available, now.reserved, now.sold) >= 0
            assert now.available + now.reserved + now.sold == came - went


@given(st.lists(commands, max_size=40))
def test_a_reservation_is_refused_only_if_too_few_are_free(asked: list[StockCommand]) -> None:
    now = Stock()
    for command in asked:
        fits = isinstance(command, ReserveStock) and command.quantity <= now.available
        try:
            events = INVENTORY.decide(command, now)
        except Refusal:
            assert not fits
            continue
        assert fits or not isinstance(command, ReserveStock)
        for event in events:
            now = INVENTORY.evolve(now, event)
