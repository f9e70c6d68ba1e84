"""Snapshots: a command on a long stream costs what it costs on a short one, and never says anything else."""

import asyncio
from uuid import UUID, uuid4

import pytest

from domain.accounts import ACCOUNTS
from domain.inventory import INVENTORY, StockReceived
from domain.orders import ORDERS
from infra.event_codec import CODEC
from infra.eventsourcing.store import Known, Last, Settled, StreamAppend, read_states, snapshots
from infra.eventsourcing.store.snapshots import EVERY, code_of
from infra.eventsourcing.store.stream_reader import AT_ONCE
from infra.identity import account_erasure
from tests.support.proxy import proxy_before
from tests.support.stock import change_stock, reserve
from tests.support.write_side import WriteSide, connected, request, write_side
from workers.upkeep.snapshots import renew_snapshots

pytestmark = pytest.mark.anyio


async def lay_down(side: WriteSide, product: UUID, length: int) -> None:
    """A stream of so many deliveries of a piece, which nobody has folded yet."""
    received = CODEC.encode(StockReceived(product_id=product, quantity=1, reason="x"))
    for begun in range(0, length, 2_000):
        count = min(2_000, length - begun)
        await side.appender.append(
            request(StreamAppend(INVENTORY.stream_id(product), "inventory", 0, begun, [received] * count))
        )


async def kept(url: str) -> list[tuple[UUID, str, int]]:
    async with connected(url) as connection:
        return [tuple(row) for row in await connection.fetch("SELECT stream_id, code, version FROM snapshots")]


async def settled_of(side: WriteSide, product: UUID) -> Settled:
    (settled,) = await read_states(side.database, CODEC.decode, [Known(INVENTORY, INVENTORY.stream_id(product))])
    return settled


async def test_a_process_that_starts_reads_little_of_a_long_stream(database_url: str) -> None:
    product, length = uuid4(), 5_000
    async with write_side(database_url) as first:
        await lay_down(first, product, length)
        await reserve(first, product, 1)
        await first.commands.snapshots_written()
    async with proxy_before(database_url) as proxy, write_side(proxy.url) as second:
        before = proxy.answered
        assert (await reserve(second, product, 1)).version == length + 2
        assert proxy.answered - before < 10_000


async def test_without_its_snapshot_it_reads_all_of_it(database_url: str) -> None:
    product, length = uuid4(), 5_000
    async with write_side(database_url) as first:
        await lay_down(first, product, length)
        await reserve(first, product, 1)
        await first.commands.snapshots_written()
        await first.database.execute("DELETE FROM snapshots")
    async with proxy_before(database_url) as proxy, write_side(proxy.url) as second:
        before = proxy.answered
        assert (await reserve(second, product, 1)).version == length + 2
        assert proxy.answered - before > 100_000


async def test_a_stream_that_grows_has_a_new_snapshot_now_and_then_whoever_writes_to_it(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 1, new=1)
    for number in range(2 * EVERY):
        await change_stock((ours, theirs)[number % 2], product, 1)
    await ours.commands.snapshots_written()
    await theirs.commands.snapshots_written()
    ((stream, code, version),) = await kept(database_url)
    assert (stream, code) == (INVENTORY.stream_id(product), code_of(INVENTORY))
    assert version >= EVERY


async def test_a_short_stream_has_none(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await change_stock(ours, product, 1, new=1)
    for _ in range(EVERY - 2):
        await change_stock(ours, product, 1)
    await ours.commands.snapshots_written()
    assert await kept(database_url) == []


async def test_a_snapshot_of_other_code_is_not_read_and_is_made_anew_by_a_worker(
    ours: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await lay_down(ours, product, 2 * EVERY)
    await ours.commands.now(INVENTORY, product)
    await ours.commands.snapshots_written()
    # As if the code of that release had counted otherwise.
    await ours.database.execute("UPDATE snapshots SET code = 'other', state = $1", b'{"available": 7}')
    assert (await settled_of(ours, product)).state.available == 2 * EVERY
    await renew_snapshots({"database": ours.database, "log": ours.log})
    assert await kept(database_url) == [(INVENTORY.stream_id(product), code_of(INVENTORY), 2 * EVERY)]
    assert (await settled_of(ours, product)).state.available == 2 * EVERY


async def test_a_stream_that_was_long_before_there_were_snapshots_gets_one_from_a_worker(
    ours: WriteSide, database_url: str
) -> None:
    product, gone = uuid4(), uuid4()
    await lay_down(ours, product, 2 * EVERY)
    for stream in (INVENTORY.stream_id(product), gone):
        await ours.database.execute("INSERT INTO snapshots VALUES ($1, 'inventory', 'none', 0, 0, 0)", stream)
    await renew_snapshots({"database": ours.database, "log": ours.log})
    assert await kept(database_url) == [(INVENTORY.stream_id(product), code_of(INVENTORY), 2 * EVERY)]


@pytest.mark.parametrize("state", [b"", b"{", b'{"available": "many"}', b"[]"])
async def test_a_snapshot_that_cannot_be_read_is_no_snapshot(ours: WriteSide, state: bytes) -> None:
    product = uuid4()
    await lay_down(ours, product, 2 * EVERY)
    await ours.commands.now(INVENTORY, product)
    await ours.commands.snapshots_written()
    await ours.database.execute("UPDATE snapshots SET state = $1", state)
    settled = await settled_of(ours, product)
    assert (settled.version, settled.state.available) == (2 * EVERY, 2 * EVERY)


async def test_the_snapshot_of_a_person_goes_with_the_person_and_never_comes_back(
    ours: WriteSide, database_url: str
) -> None:
    account = uuid4()
    taken = snapshots.Snapshot(ACCOUNTS, account, 100, Last(100, 1), None)
    writer = snapshots.SnapshotWriter(ours.database)
    await writer.write([taken])
    async with ours.database.write() as connection:
        await account_erasure.forget(connection, [account])
    assert await kept(database_url) == [(account, "gone", 0)]
    # A process that has not heard of it yet still has the state in its memory.
    await writer.write([taken])
    async with connected(database_url) as connection:
        assert [tuple(row) for row in await connection.fetch("SELECT code, state FROM snapshots")] == [("gone", None)]


async def test_while_a_long_stream_is_folded_others_have_the_loop(ours: WriteSide) -> None:
    product, length = uuid4(), 4_000
    await lay_down(ours, product, length)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    waiting = asyncio.create_task(others())
    await ours.commands.now(INVENTORY, product)
    waiting.cancel()
    assert turns > length / AT_ONCE


def test_code_is_named_for_each_kind_of_stream() -> None:
    assert len({code_of(decider) for decider in (ACCOUNTS, INVENTORY, ORDERS)}) == 3
