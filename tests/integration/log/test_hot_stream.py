"""Many writers on one stream, in one process and in several: exact sums, few commits, nothing sold twice."""

import asyncio
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, ChangeStock, StockReceived
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import TooBusy
from infra.event_codec import CODEC
from infra.eventsourcing.store import StreamAppend
from tests.support import planted
from tests.support.log_checks import doubled_accounts, oversold, stock_after, violations, whole_log
from tests.support.proxy import proxy_before
from tests.support.write_side import WriteSide, connected, context, request, write_side
from tests.support.writers import in_processes, move_stock, order, register

pytestmark = pytest.mark.anyio


async def put_on_sale(side: WriteSide, pieces: int) -> UUID:
    """A product with so many pieces."""
    product = uuid4()
    command = ChangeStock(product_id=product, change=pieces, reason="first stock")

    def decide(work: UnitOfWork) -> None:
        work.execute(INVENTORY, product, command)

    await side.commands.run([(INVENTORY, product)], decide, context(), new=1)
    return product


async def test_sixty_four_writers_on_one_stream_add_up_and_share_their_commits(
    ours: WriteSide, database_url: str
) -> None:
    product = await put_on_sale(ours, 10_000)
    changes = await move_stock(ours, product=str(product), writers=64, each=20)
    assert len(changes) == 64 * 20
    async with connected(database_url) as connection:
        assert await violations(connection) == []
        assert stock_after(await whole_log(connection), product).available == 10_000 + sum(changes)
        commits = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM events")
    assert commits < 64 * 20 / 8, "a hot stream must not pay a commit for each version"


async def test_two_processes_on_one_stream_add_up_and_nobody_is_turned_away(ours: WriteSide, database_url: str) -> None:
    product = await put_on_sale(ours, 10_000)
    load = {"product": str(product), "writers": 64, "each": 25}
    answers = await in_processes(database_url, "move_stock", [load, load])
    stored = [change for answer in answers for change in answer]
    async with connected(database_url) as connection:
        assert await violations(connection) == []
        log = await whole_log(connection)
    assert len(log) == 1 + len(stored)
    assert stock_after(log, product).available == 10_000 + sum(stored)
    assert len(stored) == 2 * 64 * 25


async def test_of_64_clients_who_want_4_of_50_pieces_exactly_12_get_them(ours: WriteSide, database_url: str) -> None:
    product = await put_on_sale(ours, 50)
    assert await order(ours, product=str(product), clients=64, quantity=4) == {"placed": 12, "OutOfStock": 52}
    async with connected(database_url) as connection:
        log = await whole_log(connection)
        assert await violations(connection) == []
    assert oversold(log, product) == []
    assert stock_after(log, product).available == 2


async def test_and_exactly_12_also_when_they_come_to_two_processes(ours: WriteSide, database_url: str) -> None:
    product = await put_on_sale(ours, 50)
    load = {"product": str(product), "clients": 32, "quantity": 4}
    answers = await in_processes(database_url, "order", [load, load])
    assert sum(answer.get("placed", 0) for answer in answers) == 12
    assert sum(answer.get("OutOfStock", 0) for answer in answers) == 52
    async with connected(database_url) as connection:
        log = await whole_log(connection)
    assert oversold(log, product) == []


async def test_more_is_sold_than_there_is_once_versions_are_not_compared(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = await put_on_sale(ours, 50)
    await planted.plant(database_url, *planted.NO_VERSIONS)
    for side in (ours, theirs):
        # Both processes know the stream now; what the one sells, the other does not see.
        assert await order(side, product=str(product), clients=1, quantity=1) == {"placed": 1}
    for side in (ours, theirs):
        await order(side, product=str(product), clients=32, quantity=4)
    async with connected(database_url) as connection:
        assert oversold(await whole_log(connection), product) != []


async def test_of_100_who_register_one_address_at_two_processes_one_gets_it(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    both = await asyncio.gather(
        register(ours, email="Ada@Example.org", people=50), register(theirs, email="ada@example.ORG", people=50)
    )
    assert sum(each.get("registered", 0) for each in both) == 1
    assert sum(each.get("AlreadyTaken", 0) for each in both) == 99
    async with connected(database_url) as connection:
        assert doubled_accounts(await whole_log(connection)) == []


async def test_one_address_gets_many_accounts_once_nobody_looks_at_the_claims(
    ours: WriteSide, database_url: str
) -> None:
    await planted.plant(database_url, *planted.NO_CLAIMS)
    await register(ours, email="ada@example.org", people=5)
    async with connected(database_url) as connection:
        assert doubled_accounts(await whole_log(connection)) == ["ada@example.org has 5 accounts"]


async def test_a_lost_race_on_a_long_stream_costs_what_is_new_and_not_the_whole_stream(
    ours: WriteSide, database_url: str
) -> None:
    product, length = uuid4(), 2_000
    stream, received = (
        INVENTORY.stream_id(product),
        CODEC.encode(StockReceived(product_id=product, quantity=1, reason="x")),
    )
    await ours.appender.append(request(StreamAppend(stream, "inventory", 0, 0, [received] * length)))
    async with proxy_before(database_url) as proxy, write_side(proxy.url) as theirs:
        load = {"product": str(product), "writers": 1, "each": 1}
        await move_stock(theirs, **load)  # type: ignore[arg-type]
        await move_stock(ours, **load)  # type: ignore[arg-type]
        before = proxy.answered
        assert await move_stock(theirs, **load) == [1]  # type: ignore[arg-type]
        assert proxy.answered - before < 10_000


async def test_and_losing_again_and_again_costs_no_more(ours: WriteSide, database_url: str) -> None:
    product, length = uuid4(), 2_000
    stream, received = (
        INVENTORY.stream_id(product),
        CODEC.encode(StockReceived(product_id=product, quantity=1, reason="x")),
    )
    await ours.appender.append(request(StreamAppend(stream, "inventory", 0, 0, [received] * length)))
    async with proxy_before(database_url) as proxy, write_side(proxy.url) as theirs:
        await theirs.commands.read_cached(INVENTORY, product)
        await planted.plant(database_url, *ALWAYS_AHEAD)
        before = proxy.answered
        with pytest.raises(TooBusy):
            await theirs.commands.handle((INVENTORY, product), counted(product), context())
        assert proxy.answered - before < 100_000


def counted(product: UUID) -> ChangeStock:
    """One piece more."""
    return ChangeStock(product_id=product, change=1, reason="count")


async def test_who_loses_every_race_is_told_so_in_time(ours: WriteSide, database_url: str) -> None:
    product = await put_on_sale(ours, 10)
    async with connected(database_url) as connection:
        # Somebody is always faster: whatever version we expect, the stream is ahead of it.
        await planted.plant(database_url, *ALWAYS_AHEAD)
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(TooBusy):
            await ours.commands.handle((INVENTORY, product), counted(product), context())
        assert 1 < loop.time() - started < 3
        assert await violations(connection) == []


ALWAYS_AHEAD = (
    ("        WHERE CASE\n", "        WHERE true OR CASE\n"),
    ("OR CASE\n", "OR true OR CASE\n"),
)
