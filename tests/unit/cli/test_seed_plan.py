"""The plan of a made-up shop: the same each time, larger by adding to it, and one that the shop's rules can fulfil."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final

import pytest

from cli.seed.execution import PASSWORD, steps
from cli.seed.plan import FATES, SIZES, Block, Fate, PlannedOrder, block, blocks
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, PlaceOrder, order_number
from domain.orders.decider import decide, evolve
from infra.identity.passwords import accepted
from infra.schemas.product import launch_of

FIRST: Final = block(7, 0)
ENDS: Final[dict[Fate, OrderStatus]] = {
    "pending": OrderStatus.PENDING,
    "paid": OrderStatus.PAID,
    "shipped": OrderStatus.SHIPPED,
    "done": OrderStatus.DONE,
    "cancelled": OrderStatus.CANCELLED,
    "refunded": OrderStatus.REFUNDED,
    "returned": OrderStatus.REFUNDED,
    "paid too late": OrderStatus.CANCELLED,
}


def ids(planned: Block) -> list[object]:
    customers, orders = [each.account_id for each in planned.customers], [each.order_id for each in planned.orders]
    return [*planned.products, *customers, *orders]


def of_fate(fate: Fate) -> PlannedOrder:
    return next(order for number in range(9) for order in block(7, number).orders if order.fate == fate)


def placed(planned: PlannedOrder) -> Order:
    line = OrderLine(
        product_id=planned.items[0].product_id,
        sku="KIT-1",
        name="Kettle",
        quantity=1,
        unit_price=Money.parse("19.90", "EUR", "/price"),
        tax_rate=Decimal("0.19"),
    )
    expires_at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=30)
    command = PlaceOrder(
        order_id=planned.order_id,
        order_no=order_number(planned.order_id, 2026),
        customer_id=planned.customer_id,
        lines=(line,),
        expires_at=expires_at,
        shipping_address=planned.address,
    )
    (event,) = decide(command, None)
    return evolve(None, event)


def lived(planned: PlannedOrder) -> Iterator[Order]:
    """The order as it stands after each step."""
    order = placed(planned)
    yield order
    for command in steps(planned, order):
        for event in decide(command, order):
            order = evolve(order, event)
        yield order


def test_the_same_number_makes_the_same_shop_and_another_one_another() -> None:
    assert block(7, 3) == block(7, 3)
    assert not set(ids(FIRST)) & set(ids(block(8, 0)))


def test_a_larger_shop_begins_with_the_smaller_one() -> None:
    assert list(islice(blocks(7, 40), 2)) == list(blocks(7, 2)) == [FIRST, block(7, 1)]


def test_no_two_things_share_an_id_a_sku_or_an_address() -> None:
    planned = list(blocks(7, 20))
    for names in (
        [name for each in planned for name in ids(each)],
        [product.sku for each in planned for product in each.products.values()],
        [customer.email for each in planned for customer in each.customers],
        [order_number(order.order_id, 2026) for each in planned for order in each.orders],
    ):
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", range(20))
def test_a_block_is_whole_and_has_stock_for_all_of_its_orders(number: int) -> None:
    planned = block(7, number)
    assert (len(planned.products), len(planned.customers), len(planned.orders)) == tuple(SIZES.values())
    assert Counter(order.fate for order in planned.orders) == FATES
    asked = Counter[object]()
    for order in planned.orders:
        assert order.customer_id in {customer.account_id for customer in planned.customers}
        for item in order.items:
            asked[item.product_id] += item.quantity
    assert all(planned.products[product].stock >= count for product, count in asked.items())  # type: ignore[index]
    for product_id, product in planned.products.items():
        launch_of(product_id, product)


@pytest.mark.parametrize("fate", FATES)
def test_an_order_comes_to_its_fate_by_the_rules(fate: Fate) -> None:
    *_, last = lived(of_fate(fate))
    assert last.status is ENDS[fate]
    assert bool(last.owed) is (fate in {"refunded", "returned", "paid too late"})


@pytest.mark.parametrize("fate", FATES)
def test_an_order_that_stopped_on_its_way_goes_on_from_there(fate: Fate) -> None:
    planned = of_fate(fate)
    *_, last = lived(planned)
    for order in lived(planned):
        for command in steps(planned, order):
            for event in decide(command, order):
                order = evolve(order, event)
        assert order == last


@pytest.mark.parametrize("fate", [fate for fate in FATES if fate != "paid too late"])
def test_an_order_whose_time_was_over_meanwhile_is_left_alone(fate: Fate) -> None:
    planned = of_fate("cancelled")
    *_, cancelled = lived(planned)
    assert steps(of_fate(fate), cancelled) == []


def test_the_password_of_all_customers_is_one_that_the_shop_takes() -> None:
    assert accepted(PASSWORD, own=("customer-1-1@example.com", "customer-1-1")) == PASSWORD
