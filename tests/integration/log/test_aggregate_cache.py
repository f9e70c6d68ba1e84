"""What a process keeps in mind of its streams: it outlives who hangs up, who is turned away, and what is forgotten."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from domain.catalogue import PRODUCTS
from domain.inventory import INVENTORY, OutOfStock, ReserveStock
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import TooBusy
from infra.event_codec import CODEC
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.commands.aggregate_cache import AggregateCache
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.eventsourcing.commands.unit_of_work import StreamState
from infra.eventsourcing.store import Settled
from infra.eventsourcing.store.appender import MOST_WAITING
from tests.support.builders import add_product
from tests.support.stock import change_stock, move, nothing, reserve
from tests.support.write_side import (
    WriteSide,
    connected,
    context,
    eventually,
    head_held,
    part,
    request,
    somebody_waits,
    state_of,
    write_side,
)

pytestmark = pytest.mark.anyio


# --- Giving up hurts nobody ------------------------------------------------------------------------------------------


async def test_a_command_turned_away_at_the_queue_leaves_no_trace_in_what_is_decided_next(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 5, new=1)
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        filler = request(part(uuid4(), 0))
        queue = [ours.appender.enqueue(filler) for _ in range(MOST_WAITING)]
        with pytest.raises(TooBusy):
            await change_stock(ours, product, 100)
        for waiting in queue:
            waiting.cancel()
    await asyncio.wait([first])
    # A stranger fills the very version that the delivery would have had.
    await reserve(theirs, product, 5)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 50)


async def test_a_client_that_hangs_up_in_the_queue_takes_its_events_with_it(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await change_stock(ours, product, 5, new=1)
    async with head_held(database_url) as holder:
        first = asyncio.create_task(change_stock(ours, uuid4(), 1, new=1))
        await eventually(lambda: somebody_waits(holder))
        leaving = asyncio.create_task(reserve(ours, product, 5))
        staying = [asyncio.create_task(reserve(ours, product, 1)) for _ in range(5)]
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
    await first
    assert sorted([(await task).version for task in staying]) == [2, 3, 4, 5, 6]


async def test_a_client_that_hangs_up_in_flight_leaves_its_events_to_build_on(
    ours: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 5, new=1)
    async with head_held(database_url) as holder:
        leaving = asyncio.create_task(reserve(ours, product, 3))
        staying = asyncio.create_task(reserve(ours, product, 2))
        await eventually(lambda: somebody_waits(holder))
        leaving.cancel()
        await asyncio.wait([leaving])
    assert (await staying).version == 3
    assert (await state_of(ours.database, INVENTORY, product)).reserved == 5


async def test_after_a_client_has_hung_up_a_command_without_effect_still_tells_where_the_stream_is(
    ours: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 5, new=1)
    async with head_held(database_url) as holder:
        leaving = asyncio.create_task(reserve(ours, product, 3))
        await eventually(lambda: somebody_waits(holder))
        leaving.cancel()
        await asyncio.wait([leaving])
    outcome = await ours.commands.run([(INVENTORY, product)], nothing, context())
    assert (outcome.version, outcome.position) == (2, 2)


# --- What is kept ----------------------------------------------------------------------------------------------------


async def test_a_process_that_keeps_few_streams_in_mind_forgets_nothing_that_matters(database_url: str) -> None:
    products = [uuid4() for _ in range(8)]
    async with write_side(database_url, streams=2) as side, asyncio.timeout(20):
        await asyncio.gather(*[change_stock(side, product, 100, new=1) for product in products])
        await asyncio.gather(*[reserve(side, product, 1) for product in products * 5])
        left = [(await state_of(side.database, INVENTORY, product)).available for product in products]
    assert left == [95] * 8


async def test_what_is_kept_in_mind_is_bounded_in_bytes_too(ours: WriteSide) -> None:
    tips = AggregateCache(ours.database, log=ours.log, most=1_000, most_bytes=20_000, on_news=lambda _: None)
    products = [(PRODUCTS, uuid4()) for _ in range(20)]
    for number, target in enumerate(products):
        command = replace(add_product(product_id=target[1], sku=f"A-{number}"), description="x" * 4_000)
        (event,) = PRODUCTS.decide(command, PRODUCTS.initial)
        tips.keep(
            StreamState(target, 4, Settled(PRODUCTS.evolve(PRODUCTS.initial, event), 1)), len(CODEC.encode(event).data)
        )
    known = [tips.known([target]) is not None for target in products]
    assert known == [False] * 16 + [True] * 4
    tips.forget([tip for target in products for tip in tips.known([target]) or []])
    await tips.loaded(products)
    await tips.loaded([(PRODUCTS, uuid4())])
    assert tips._bytes == sum(tips._weights.values())
    assert tips._weights.keys() == tips._states.keys()
    await tips.close()


async def test_a_unit_of_work_over_more_streams_than_are_kept_in_mind_comes_to_an_end(database_url: str) -> None:
    products = [uuid4() for _ in range(4)]
    async with write_side(database_url, streams=2) as side:
        for product in products:
            await change_stock(side, product, 1, new=1)

        def decide(work: UnitOfWork) -> None:
            for product in products:
                move(work, product, ReserveStock(product_id=product, order_id=uuid4(), quantity=1))

        async with asyncio.timeout(5):
            outcome = await side.commands.run([(INVENTORY, p) for p in products], decide, context())
    assert outcome.position == 8


async def test_a_process_that_remembers_more_than_the_log_holds_comes_back_to_what_it_holds(
    ours: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await change_stock(ours, product, 5)
    async with connected(database_url) as connection:
        # A standby took over that had not heard of the last event.
        await connection.execute("DELETE FROM events WHERE position = 2")
        await connection.execute("UPDATE log_head SET position = 1")
    await change_stock(ours, product, 1)
    assert (await state_of(ours.database, INVENTORY, product)).available == 11


async def test_a_stream_that_this_release_cannot_read_fails_alone(ours: WriteSide, database_url: str) -> None:
    product, later = uuid4(), uuid4()
    await change_stock(ours, product, 1, new=1)
    await ours.appender.append(request(part(INVENTORY.stream_id(later), 0, category="inventory")))
    async with write_side(database_url) as fresh:
        unreadable, fine = await asyncio.gather(
            reserve(fresh, later, 1), reserve(fresh, product, 1), return_exceptions=True
        )
    assert isinstance(unreadable, UnknownEventType)
    assert isinstance(fine, CommandOutcome)


async def test_an_id_that_came_from_a_row_is_as_good_as_any(ours: WriteSide, database_url: str) -> None:
    async with connected(database_url) as connection:
        product = await connection.fetchval("SELECT gen_random_uuid()")
    await change_stock(ours, product, 1, new=1)
    command = ReserveStock(product_id=product, order_id=uuid4(), quantity=1)
    assert (await ours.commands.handle((INVENTORY, product), command, context("k"))).id == product
