"""How much of the stock one account may hold without paying: so many orders, and so many pieces in them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.unit_of_work import StreamRef, UnitOfWork
from domain.orders import (
    ORDERS,
    UNPAID,
    CancelledBy,
    CancelOrder,
    ExpireOrder,
    PayOrder,
    RefundOrder,
    TooManyUnpaidOrders,
    TooManyUnpaidPieces,
)
from domain.workflows.checkout import stock_moves
from infra.errors import OutcomeUnknown
from infra.eventsourcing.commands.bulk_create import CreateRequest
from infra.eventsourcing.store import Limit
from infra.settings import Settings
from infra.write_side import limits_of
from tests.support.builders import PRODUCT_ID, order_line, place_order
from tests.support.proxy import proxy_before
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import WriteSide, context, head_held, write_side

pytestmark = pytest.mark.anyio

MOST, PIECES, TURNS = 3, 10, 12
LIMITS: Final = {UNPAID: Limit(MOST, PIECES)}


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url, limits=LIMITS) as opened:
        yield opened


@pytest.fixture
async def beside(database_url: str) -> AsyncIterator[WriteSide]:
    """Another process."""
    async with write_side(database_url, limits=LIMITS) as opened:
        yield opened


@pytest.fixture
async def apis(settings: Settings) -> AsyncIterator[list[Shop]]:
    """Two API processes."""
    bound = settings.model_copy(update={"unpaid_orders_most": MOST, "unpaid_pieces_most": PIECES})
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(shop(bound)) for _ in range(2)]


def wanted(customer: UUID, quantity: int = 1, *, product_id: UUID = PRODUCT_ID, **more: Any) -> Any:
    order_id = uuid4()
    return place_order(
        order_id=order_id,
        order_no=order_id.hex,
        customer_id=customer,
        lines=(order_line(quantity=quantity, product_id=product_id),),
        **more,
    )


async def placed(side: WriteSide, customer: UUID, quantity: int = 1, **more: Any) -> UUID:
    command = wanted(customer, quantity, **more)
    await side.commands.handle((ORDERS, command.order_id), command, context())
    return UUID(str(command.order_id))


async def held(side: WriteSide, customer: UUID) -> tuple[int, int]:
    """Unpaid orders of the customer, and the pieces in them, as the append counts them."""
    row = await side.database.fetchrow(
        "SELECT count(*), coalesce(sum(weight), 0)::bigint FROM allowances WHERE owner = $1", customer
    )
    assert row is not None
    return tuple(row)


async def most_at_once(side: WriteSide) -> tuple[int, int]:
    """The most unpaid orders, and pieces in such, that any account had in any prefix of the log."""
    rows = await side.database.fetch(
        "SELECT type, data ->> 'customer_id' AS customer, stream_id,"
        " (SELECT sum((l ->> 'quantity')::int) FROM jsonb_array_elements(data -> 'lines') l) AS pieces"
        " FROM events WHERE type IN ('order.placed', 'order.paid', 'order.cancelled') ORDER BY position"
    )
    unpaid: dict[str, dict[UUID, int]] = {}
    orders = pieces = 0
    for row in rows:
        own = unpaid.setdefault(row["customer"], {})
        if row["type"] == "order.placed":
            own[row["stream_id"]] = row["pieces"]
        else:
            own.pop(row["stream_id"], None)
        orders, pieces = max(orders, len(own)), max(pieces, sum(own.values()))
    return orders, pieces


async def test_an_account_has_so_many_unpaid_orders_and_no_more(apis: list[Shop]) -> None:
    product, customer = await apis[0].product(), await apis[0].client()
    body = {"items": [{"product_id": product, "quantity": 1}]}
    orders = [(await customer.post("/v1/orders", body)).json()["id"] for _ in range(MOST)]
    before = await apis[0].stored()
    refused = await customer.post("/v1/orders", body, Idempotency_Key="k")
    assert (refused.status_code, refused.json()["code"]) == (409, "too-many-unpaid-orders")
    assert str(MOST) in refused.json()["detail"]
    assert await apis[0].stored() == before
    another = await apis[0].client()
    assert (await another.post("/v1/orders", body)).status_code == 201
    assert (await customer.post(f"/v1/orders/{orders[0]}/cancel")).status_code == 200
    assert (await customer.post("/v1/orders", body, Idempotency_Key="k")).status_code == 201


async def test_its_unpaid_orders_hold_so_many_pieces_and_no_more(apis: list[Shop]) -> None:
    product, customer = await apis[0].product(stock=5 * PIECES), await apis[0].client()

    async def orders(quantity: int) -> tuple[int, str | None]:
        body = {"items": [{"product_id": product, "quantity": quantity}]}
        answer = await customer.post("/v1/orders", body)
        return answer.status_code, answer.json().get("code")

    assert await orders(PIECES + 1) == (409, "too-many-unpaid-pieces")
    assert await orders(PIECES - 1) == (201, None)
    assert await orders(2) == (409, "too-many-unpaid-pieces")
    assert await orders(1) == (201, None)


async def test_an_order_that_was_answered_is_answered_again_though_the_account_is_full(apis: list[Shop]) -> None:
    product, customer = await apis[0].product(), await apis[0].client()
    body = {"items": [{"product_id": product, "quantity": 1}]}
    first = [await customer.post("/v1/orders", body, Idempotency_Key=str(number)) for number in range(MOST)]
    there = Client(http=apis[1].http, id=customer.id, headers=customer.headers)
    again = [await there.post("/v1/orders", body, Idempotency_Key=str(number)) for number in range(MOST)]
    assert [answer.json() for answer in again] == [answer.json() for answer in first]
    assert await apis[0].database.fetch("SELECT FROM allowances") != []


async def test_of_all_that_two_processes_take_at_once_no_account_has_more_in_any_prefix_of_the_log(
    side: WriteSide, beside: WriteSide
) -> None:
    customers = [uuid4() for _ in range(3)]
    refused, cancel = 0, CancelOrder(by=CancelledBy.CUSTOMER, reason=None)

    async def shops(at: WriteSide, customer: UUID, quantity: int) -> None:
        nonlocal refused
        for turn in range(TURNS):
            try:
                order_id = await placed(at, customer, quantity)
            except (TooManyUnpaidOrders, TooManyUnpaidPieces):
                refused += 1
                continue
            if turn < TURNS - 1:
                await at.commands.handle((ORDERS, order_id), cancel, context())

    await asyncio.gather(
        *[shops(at, each, quantity) for at in (side, beside) for each in customers for quantity in (1, 4, 6)]
    )
    assert refused > 0
    orders, pieces = await most_at_once(side)
    assert orders == MOST
    assert pieces <= PIECES
    for customer in customers:
        number, weight = await held(side, customer)
        assert number <= MOST
        assert weight <= PIECES


async def test_one_batch_takes_no_more_than_there_is_and_its_other_requests_are_stored(side: WriteSide) -> None:
    hoarder, others = uuid4(), [uuid4() for _ in range(5)]
    endings = await asyncio.gather(
        *[placed(side, each) for each in [*[hoarder] * (MOST + 2), *others]], return_exceptions=True
    )
    assert [type(each) for each in endings if isinstance(each, Exception)] == [TooManyUnpaidOrders] * 2
    assert await held(side, hoarder) == (MOST, MOST)
    assert [await held(side, each) for each in others] == [(1, 1)] * len(others)


async def bought(side: WriteSide, customer: UUID, product: UUID) -> None:
    """An order for a piece of the product, whose stream all who buy it share."""
    command = wanted(customer, product_id=product)

    def decide(work: UnitOfWork) -> None:
        (placed,) = work.execute(ORDERS, command.order_id, command)
        for move in stock_moves(placed):
            work.execute(INVENTORY, product, move)

    targets: list[StreamRef] = [(ORDERS, command.order_id), (INVENTORY, product)]
    await side.commands.run(targets, decide, context(), new=1)


async def test_who_goes_on_asking_for_more_than_they_may_have_spoils_nobody_who_wants_the_same(
    side: WriteSide,
) -> None:
    product, hoarder = uuid4(), uuid4()
    stock = ChangeStock(product_id=product, change=100, reason="first stock")
    await side.commands.handle((INVENTORY, product), stock, context())

    async def storm() -> int:
        """As many who may buy as times that one tries who may not; races that were lost meanwhile."""
        before = side.commands.races.lost
        buying = [bought(side, customer, product) for _ in range(15) for customer in (uuid4(), hoarder)]
        endings = await asyncio.gather(*buying, return_exceptions=True)
        assert [type(each) for each in endings] == [type(None), TooManyUnpaidOrders] * 15
        return side.commands.races.lost - before

    for _ in range(MOST):
        await bought(side, hoarder, product)
    assert await storm() > 0, "nobody knew of it"
    assert await storm() == 0
    await side.database.execute("DELETE FROM allowances WHERE owner = $1", hoarder)
    await bought(side, hoarder, product)  # nobody is suspected for longer than it is so


@pytest.mark.parametrize("refunded", [False, True])
async def test_a_paid_order_counts_no_more_and_a_refund_does_not_bring_it_back(side: WriteSide, refunded: bool) -> None:
    customer = uuid4()
    order_id = await placed(side, customer)
    state = await side.commands.read_cached(ORDERS, order_id)
    assert state is not None
    await side.commands.handle((ORDERS, order_id), PayOrder(payment_id="p", amount=state.total), context())
    assert await held(side, customer) == (0, 0)
    if refunded:
        await side.commands.handle((ORDERS, order_id), RefundOrder(reason=None), context())
    assert await held(side, customer) == (0, 0)


async def test_an_order_that_ran_out_counts_no_more(side: WriteSide) -> None:
    customer, now = uuid4(), datetime.now(UTC)
    order_id = await placed(side, customer, expires_at=now)
    assert await held(side, customer) == (1, 1)
    await side.commands.handle((ORDERS, order_id), ExpireOrder(now=now + timedelta(seconds=1)), context())
    assert await held(side, customer) == (0, 0)


async def test_what_is_placed_and_ended_in_one_batch_counts_no_more(side: WriteSide, database_url: str) -> None:
    customer = uuid4()
    commands = [wanted(customer) for _ in range(MOST)]
    async with head_held(database_url):
        placing = [
            asyncio.create_task(side.commands.handle((ORDERS, each.order_id), each, context())) for each in commands
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*placing)
    ending = CancelOrder(by=CancelledBy.CUSTOMER, reason=None)
    await asyncio.gather(
        *[side.commands.handle((ORDERS, each.order_id), ending, context()) for each in commands],
        *[placed(side, uuid4()) for _ in range(3)],
    )
    assert await held(side, customer) == (0, 0)


async def test_orders_in_bulk_are_bound_by_the_same_rule(side: WriteSide) -> None:
    customer = uuid4()

    def beginning() -> CreateRequest:
        command = wanted(customer)

        def decide(work: UnitOfWork) -> None:
            work.execute(ORDERS, command.order_id, command)

        return CreateRequest([(ORDERS, command.order_id)], decide, context())

    endings = await side.commands.create_many([[beginning() for _ in range(MOST + 2)]])
    assert [type(each) for each in endings] == [type(None)] * MOST + [TooManyUnpaidOrders] * 2


async def test_an_order_whose_answer_was_lost_is_counted_as_what_it_came_to(database_url: str, side: WriteSide) -> None:
    customer = uuid4()
    async with proxy_before(database_url) as proxy, write_side(proxy.url, limits=LIMITS) as cut:
        await placed(cut, customer)
        command = wanted(customer)
        proxy.lose_the_next_answer()
        with pytest.raises(OutcomeUnknown):
            await cut.commands.handle((ORDERS, command.order_id), command, context("k"))
        assert await held(side, customer) == (2, 2)
        again = await cut.commands.handle((ORDERS, command.order_id), command, context("k"))
        assert again.replayed
        assert await held(side, customer) == (2, 2)


async def test_without_bounds_nothing_is_refused_and_all_is_counted(database_url: str, settings: Settings) -> None:
    unbound = settings.model_copy(update={"unpaid_orders_most": 0, "unpaid_pieces_most": 0})
    assert limits_of(unbound)[UNPAID] == Limit(None, None)
    async with write_side(database_url, limits=limits_of(unbound)) as side:
        customer = uuid4()
        await asyncio.gather(*[placed(side, customer, 9) for _ in range(2 * MOST)])
        assert await held(side, customer) == (2 * MOST, 2 * MOST * 9)


def test_a_customer_may_have_twenty_unpaid_orders_and_a_thousand_pieces_unless_told_otherwise() -> None:
    assert limits_of(Settings())[UNPAID] == Limit(20, 1000)
