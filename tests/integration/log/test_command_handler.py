"""Commands decided ahead of their commit: a yes and a no are equally true, and nobody pays for another's failure."""

import asyncio
from uuid import uuid4

import pytest

from domain.accounts import ACCOUNTS, DeactivateAccount, RegisterAccount
from domain.catalogue import PRODUCTS, RepriceProduct
from domain.inventory import INVENTORY, ChangeStock, OutOfStock, ReserveStock
from domain.kernel.refusals import AlreadyExists, AlreadyTaken, DoesNotExist
from domain.kernel.unit_of_work import UnitOfWork
from domain.orders import ORDERS
from infra.errors import NotFound, VersionMismatch
from infra.eventsourcing.commands.attempt import CommandOutcome
from tests.support.builders import add_product, euros, order_line, place_order
from tests.support.log_checks import violations, whole_log
from tests.support.stock import change_stock, move, nothing, reserve, with_an_account
from tests.support.write_side import (
    WriteSide,
    connected,
    context,
    state_of,
)
from tests.support.writers import register_account

pytestmark = pytest.mark.anyio


# --- The plain way ---------------------------------------------------------------------------------------------------


async def test_commands_build_on_each_other_and_tell_where_they_are(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    first = await change_stock(ours, product, 10, new=1)
    second = await reserve(ours, product, 3)
    assert (first.id, first.version, first.position) == (product, 1, 1)
    assert (second.version, second.position) == (2, 2)
    assert (await state_of(ours.database, INVENTORY, product)).available == 7
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def test_positions_are_those_of_the_last_event_in_each_shard(ours: WriteSide, database_url: str) -> None:
    products = [uuid4() for _ in range(12)]

    def decide(work: UnitOfWork) -> None:
        for product in products:
            move(work, product, *[ChangeStock(product_id=product, change=1, reason="count")] * 2)

    await change_stock(ours, uuid4(), 1, new=1)
    outcome = await ours.commands.run([(INVENTORY, product) for product in products], decide, context(), new=12)
    async with connected(database_url) as connection:
        rows = await connection.fetch(
            "SELECT shard, max(position) AS last FROM events WHERE position > 1 GROUP BY shard"
        )
    assert outcome.positions == {row["shard"]: row["last"] for row in rows}
    assert outcome.position == max(outcome.positions.values()) == 25
    assert outcome.version == 2


async def test_a_command_that_changes_nothing_tells_where_its_stream_is(ours: WriteSide, theirs: WriteSide) -> None:
    account = await register_account(ours, "ada@example.org", "ada")
    await change_stock(ours, uuid4(), 1, new=1)
    for side in (ours, theirs):
        outcome = await side.commands.run([(ACCOUNTS, account)], nothing, context())
        assert (outcome.version, outcome.position, list(outcome.positions.values())) == (1, 1, [1])


async def test_a_stream_that_is_not_there_is_refused_by_the_rules_and_can_be_begun_by_another_process(
    ours: WriteSide, theirs: WriteSide
) -> None:
    account = uuid4()
    with pytest.raises(DoesNotExist):
        await ours.commands.handle((ACCOUNTS, account), DeactivateAccount(), context())
    with pytest.raises(NotFound):
        await ours.commands.read_cached(ACCOUNTS, account)
    command = RegisterAccount(account_id=account, email="ada@example.org", username="ada")
    await theirs.commands.run(
        [(ACCOUNTS, account)], lambda work: _ignore(work.execute(ACCOUNTS, account, command)), context(), new=1
    )
    assert (await ours.commands.read_cached(ACCOUNTS, account)) is not None
    assert (await ours.commands.handle((ACCOUNTS, account), DeactivateAccount(), context())).version == 2


async def test_a_stream_that_is_there_cannot_be_begun_and_the_rules_say_so_at_once(ours: WriteSide) -> None:
    account = await register_account(ours, "ada@example.org", "ada")
    command = RegisterAccount(account_id=account, email="bea@example.org", username="bea")

    def decide(work: UnitOfWork) -> None:
        work.execute(ACCOUNTS, account, command)

    with pytest.raises(AlreadyExists):
        await ours.commands.run([(ACCOUNTS, account)], decide, context(), new=1)


async def test_an_expected_version_that_is_not_the_stream_s_is_told_with_the_true_one(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await change_stock(theirs, product, 10)
    command = ReserveStock(product_id=product, order_id=uuid4(), quantity=1)
    with pytest.raises(VersionMismatch) as mismatch:
        # Our tip still says 1: the log must not take our word for it.
        await ours.commands.handle((INVENTORY, product), command, context(if_match=(1,)))
    assert (mismatch.value.expected, mismatch.value.actual) == ((1,), 2)
    assert (await ours.commands.handle((INVENTORY, product), command, context(if_match=(2,)))).version == 3


async def test_events_say_who_commanded_and_why(ours: WriteSide, database_url: str) -> None:
    product, command = uuid4(), ChangeStock(product_id=uuid4(), change=1, reason="count")
    who = context(actor="ada", correlation="r-1", causation="e-1", traceparent="00-1-1-01")
    await ours.commands.run([(INVENTORY, product)], lambda work: move(work, product, command), who, new=1)
    async with connected(database_url) as connection:
        (event,) = await whole_log(connection)
    assert event["metadata"] == (
        b'{"actor": "ada", "causation": "e-1", "correlation": "r-1", "traceparent": "00-1-1-01"}'
    )


# --- All or nothing --------------------------------------------------------------------------------------------------


async def test_an_order_over_two_products_takes_nothing_when_one_is_short(ours: WriteSide) -> None:
    plenty, short = uuid4(), uuid4()
    await change_stock(ours, plenty, 10, new=1)
    await change_stock(ours, short, 1, new=1)

    def decide(work: UnitOfWork) -> None:
        for product in (plenty, short):
            move(work, product, ReserveStock(product_id=product, order_id=uuid4(), quantity=2))

    with pytest.raises(OutOfStock):
        await ours.commands.run([(INVENTORY, plenty), (INVENTORY, short)], decide, context())
    assert (await state_of(ours.database, INVENTORY, plenty)).reserved == 0
    assert (await reserve(ours, plenty, 10)).version == 2


async def test_a_taken_email_undoes_the_stock_of_the_same_unit_of_work(ours: WriteSide) -> None:
    product = uuid4()
    await register_account(ours, "ada@example.org", "ada")
    await change_stock(ours, product, 5, new=1)
    taking = ReserveStock(product_id=product, order_id=uuid4(), quantity=5)
    with pytest.raises(AlreadyTaken) as taken:
        await with_an_account(ours, "Ada@Example.org", product, taking)
    assert taken.value.pointer == "/email"
    assert (await reserve(ours, product, 5)).version == 2


# --- A no is as true as a yes ----------------------------------------------------------------------------------------


async def test_a_refusal_decided_on_events_that_then_fail_is_decided_again(ours: WriteSide) -> None:
    product = uuid4()
    await register_account(ours, "ada@example.org", "ada")
    await change_stock(ours, product, 5, new=1)
    all_of_it = ReserveStock(product_id=product, order_id=uuid4(), quantity=5)
    doomed, patient = await asyncio.gather(
        with_an_account(ours, "ada@example.org", product, all_of_it), reserve(ours, product, 1), return_exceptions=True
    )
    assert isinstance(doomed, AlreadyTaken)
    assert isinstance(patient, CommandOutcome), "there was stock all the time"
    assert (await state_of(ours.database, INVENTORY, product)).reserved == 1


async def test_a_yes_decided_on_events_that_then_fail_becomes_a_no(ours: WriteSide) -> None:
    product = uuid4()
    await register_account(ours, "ada@example.org", "ada")
    await change_stock(ours, product, 1, new=1)
    delivery = ChangeStock(product_id=product, change=10, reason="delivery")
    doomed, hopeful, modest = await asyncio.gather(
        with_an_account(ours, "ada@example.org", product, delivery),
        reserve(ours, product, 5),
        reserve(ours, product, 1),
        return_exceptions=True,
    )
    assert isinstance(doomed, AlreadyTaken)
    assert isinstance(hopeful, OutOfStock)
    assert isinstance(modest, CommandOutcome)


async def test_what_is_settled_holds_no_events_that_were_still_in_flight(ours: WriteSide, theirs: WriteSide) -> None:
    product = uuid4()
    await register_account(ours, "ada@example.org", "ada")
    await change_stock(ours, product, 10, new=1)
    delivery = ChangeStock(product_id=product, change=100, reason="delivery")
    stored, doomed = await asyncio.gather(
        reserve(ours, product, 1), with_an_account(ours, "ada@example.org", product, delivery), return_exceptions=True
    )
    assert isinstance(stored, CommandOutcome)
    assert isinstance(doomed, AlreadyTaken)
    # A stranger fills the version that the delivery would have had: only a true state can tell now.
    await reserve(theirs, product, 1)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 50)


async def test_a_refusal_on_what_another_process_has_changed_is_decided_again(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    await change_stock(ours, product, 1, new=1)
    await change_stock(theirs, product, 10)
    assert (await reserve(ours, product, 5)).version == 3


async def test_a_yes_on_what_another_process_has_changed_becomes_a_no(ours: WriteSide, theirs: WriteSide) -> None:
    product = uuid4()
    await change_stock(ours, product, 5, new=1)
    await reserve(theirs, product, 5)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 1)


async def test_a_price_that_another_process_has_changed_is_not_sold_at(ours: WriteSide, theirs: WriteSide) -> None:
    product, order = uuid4(), uuid4()
    add = add_product(product_id=product, sku=product.hex)
    await ours.commands.run(
        [(PRODUCTS, product)], lambda work: _ignore(work.execute(PRODUCTS, product, add)), context(), new=1
    )
    await theirs.commands.handle((PRODUCTS, product), RepriceProduct(price=euros("99.00")), context())

    def decide(work: UnitOfWork) -> None:
        known = work.state(PRODUCTS, product)
        assert known is not None
        line = order_line(product_id=product, unit_price=known.price)
        work.execute(ORDERS, order, place_order(order_id=order, lines=(line,)))

    await ours.commands.run([(ORDERS, order), (PRODUCTS, product)], decide, context(), new=1)
    assert (await state_of(ours.database, ORDERS, order)).lines[0].unit_price == euros("99.00")


def _ignore(_value: object) -> None:
    """The rules' answer is not needed here."""
