"""Many units of work that each begin their streams: each ends as it would alone, and none waits for the loop."""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import pytest

from domain.catalogue import PRODUCTS
from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.refusals import AlreadyExists, AlreadyTaken, InvalidValue, Refusal
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import IdempotencyKeyReused
from infra.eventsourcing.commands.bulk_create import CreateRequest
from tests.support.builders import add_product
from tests.support.log_checks import violations, whole_log
from tests.support.write_side import (
    WriteSide,
    connected,
    context,
    eventually,
    head_held,
    somebody_waits,
    state_of,
    write_side,
)

pytestmark = pytest.mark.anyio


def beginning(product: UUID, sku: str, *, key: str | None = None, body: str = "", stock: int = 5) -> CreateRequest:
    """A new product and its first stock."""

    def decide(work: UnitOfWork) -> None:
        work.execute(PRODUCTS, product, add_product(product_id=product, sku=sku))
        work.execute(INVENTORY, product, ChangeStock(product_id=product, change=stock, reason="first stock"))

    return CreateRequest([(PRODUCTS, product), (INVENTORY, product)], decide, context(key, body))


async def test_all_are_stored_as_they_would_be_one_by_one(ours: WriteSide, database_url: str) -> None:
    groups = [[beginning(uuid4(), f"A-{group}-{number}") for number in range(40)] for group in range(5)]
    assert await ours.commands.create_many(groups) == [None] * 200
    alone = beginning(uuid4(), "alone")
    await ours.commands.run(*alone)
    async with connected(database_url) as connection:
        assert await violations(connection) == []
        log = await whole_log(connection)
    assert len(log) == 402
    kinds = [(event["type"], event["version"], event["metadata"]) for event in log]
    assert kinds[:400] == kinds[400:] * 200
    product = groups[3][7].targets[0][1]
    assert (await state_of(ours.database, INVENTORY, product)).available == 5


async def test_each_ends_as_it_would_alone_and_takes_nobody_down(ours: WriteSide) -> None:
    there, taken, twice = uuid4(), uuid4(), uuid4()
    before = [beginning(there, "there"), beginning(taken, "taken"), beginning(twice, "twice", key="k", body="one")]
    assert await ours.commands.create_many([before]) == [None] * 3

    def fails(_work: UnitOfWork) -> None:
        raise RuntimeError("a fault of ours")

    broken = CreateRequest([(PRODUCTS, uuid4())], fails, context())
    group = [
        beginning(uuid4(), "first"),
        beginning(there, "there once more"),
        beginning(uuid4(), "taken"),
        beginning(twice, "twice", key="k", body="one"),
        beginning(uuid4(), "other", key="k", body="two"),
        beginning(uuid4(), "refused", stock=0),
        broken,
        beginning(uuid4(), "last"),
    ]
    endings = await ours.commands.create_many([group])
    kinds = [type(ending) for ending in endings]
    nothing = type(None)
    assert kinds == [
        *(nothing, AlreadyExists, AlreadyTaken, nothing),
        *(IdempotencyKeyReused, InvalidValue, RuntimeError, nothing),
    ]
    assert isinstance(endings[2], Refusal)
    assert endings[2].pointer == "/sku"
    rows = await ours.database.fetch("SELECT data ->> 'sku' AS sku FROM events WHERE type = 'product.added'")
    assert [row["sku"] for row in rows] == ["there", "taken", "twice", "first", "last"]


async def test_what_all_rest_on_is_read_by_each_and_written_by_none(ours: WriteSide) -> None:
    shared, seen = uuid4(), []
    await ours.commands.run(*beginning(shared, "shared"))

    def reads(work: UnitOfWork) -> None:
        seen.append(work.state(INVENTORY, shared).available)
        work.execute(PRODUCTS, product, add_product(product_id=product, sku="rests"))

    def writes(work: UnitOfWork) -> None:
        work.execute(INVENTORY, shared, ChangeStock(product_id=shared, change=1, reason="count"))

    product = uuid4()
    group = [
        CreateRequest([(PRODUCTS, product)], reads, context()),
        CreateRequest([(PRODUCTS, uuid4())], writes, context()),
    ]
    endings = await ours.commands.create_many([group], resting_on=[(INVENTORY, shared)])
    assert [type(ending) for ending in endings] == [type(None), KeyError]
    assert seen == [5]
    assert (await state_of(ours.database, INVENTORY, shared)).available == 5


async def test_what_cannot_be_held_fails_alone(ours: WriteSide) -> None:
    group = [beginning(uuid4(), "first"), beginning(uuid4(), "key", key="a\x00b"), beginning(uuid4(), "last")]
    first, second, third = await ours.commands.create_many([group])
    assert first is third is None
    assert second is not None


async def test_a_stream_that_is_begun_can_be_gone_on_with_at_once(ours: WriteSide) -> None:
    product = uuid4()
    await ours.commands.create_many([[beginning(product, "A")]])
    command = ChangeStock(product_id=product, change=2, reason="count")
    assert (await ours.commands.handle((INVENTORY, product), command, context())).version == 2
    assert (await state_of(ours.database, INVENTORY, product)).available == 7


async def test_others_have_the_loop_after_each_group(ours: WriteSide) -> None:
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    seen = []

    def groups() -> Iterator[Sequence[CreateRequest]]:
        for number in range(4):
            seen.append(turns)
            yield [beginning(uuid4(), f"A-{number}")]

    other = asyncio.create_task(neighbour())
    await asyncio.sleep(0)
    await ours.commands.create_many(groups())
    other.cancel()
    assert seen == sorted(set(seen))


async def test_on_two_lanes_the_first_of_those_that_want_the_same_key_still_has_it(database_url: str) -> None:
    async with write_side(database_url, spare=True, largest_batch=20) as side:
        pairs = [beginning(uuid4(), f"A-{number // 2}") for number in range(200)]
        others = [beginning(uuid4(), f"B-{number}") for number in range(40)]
        endings = await side.commands.create_many([others, pairs[:101], pairs[101:]])
        async with connected(database_url) as connection:
            assert await violations(connection) == []
            assert len(await whole_log(connection)) == 2 * (40 + 100)
            writers = await connection.fetch("SELECT DISTINCT xmin FROM events")
    assert [type(ending) for ending in endings[40:]] == [type(None), AlreadyTaken] * 100
    assert len(writers) > 7


async def test_what_was_not_sent_when_its_caller_is_cancelled_is_not_sent_later(
    ours: WriteSide, database_url: str
) -> None:
    async def waits() -> bool:
        return await somebody_waits(head)

    async with head_held(database_url) as head:
        first = asyncio.create_task(ours.commands.create_many([[beginning(uuid4(), "sent")]]))
        await eventually(waits)
        second = asyncio.create_task(ours.commands.create_many([[beginning(uuid4(), "waiting")]]))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
    assert await first == [None]
    await ours.commands.create_many([[beginning(uuid4(), "later")]])
    rows = await ours.database.fetch("SELECT data ->> 'sku' AS sku FROM events WHERE type = 'product.added'")
    assert [row["sku"] for row in rows] == ["sent", "later"]
