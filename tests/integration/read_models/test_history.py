"""Streams read back: whole, in order, however long."""

import asyncio
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, ReserveStock, StockReceived
from infra.errors import Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.codec import UnknownEventType
from infra.eventsourcing.store import StreamAppend, position_of
from infra.eventsourcing.store.stream_reader import PAGE, PAGE_SECONDS, StoredEvent, Wanted, read_streams
from tests.support.write_side import WriteSide, connected, context, part, request

pytestmark = pytest.mark.anyio


async def test_streams_longer_than_a_page_are_read_whole_and_each_in_order(ours: WriteSide) -> None:
    lengths = {uuid4(): length for length in (PAGE - 1, 1, PAGE, 2, PAGE + 1)}
    product = uuid4()
    for stream, length in lengths.items():
        received = [
            CODEC.encode(StockReceived(product_id=product, quantity=number, reason="x"))
            for number in range(1, length + 1)
        ]
        await ours.appender.append(request(StreamAppend(stream, "inventory", 0, 0, received)))
    nobody = uuid4()
    wanted = [Wanted(stream, "inventory") for stream in [*lengths, nobody]]
    history: dict[UUID, list[StoredEvent]] = {stream: [] for stream in [*lengths, nobody]}
    async for place, past in read_streams(ours.database, CODEC.decode, wanted):
        history[wanted[place].stream_id].append(past)
    assert history.pop(nobody) == []
    for stream, length in lengths.items():
        assert [past.version for past in history[stream]] == list(range(1, length + 1))
        assert [past.event.quantity for past in history[stream]] == list(range(1, length + 1))  # type: ignore[attr-defined]
        first = history[stream][0].last.position
        assert [past.last.position - first for past in history[stream]] == list(range(length))


async def test_an_event_that_this_release_does_not_know_is_never_skipped(ours: WriteSide) -> None:
    product = uuid4()
    await ours.appender.append(request(part(INVENTORY.stream_id(product), 0, category="inventory")))
    with pytest.raises(UnknownEventType):
        await ours.commands.read_cached(INVENTORY, product)
    command = ReserveStock(product_id=product, order_id=uuid4(), quantity=1)
    with pytest.raises(UnknownEventType):
        await ours.commands.handle((INVENTORY, product), command, context())


async def test_a_server_that_hangs_is_not_waited_for_to_say_where_an_event_stands(
    ours: WriteSide, database_url: str
) -> None:
    stream = uuid4()
    await ours.appender.append(request(part(stream, 0)))
    assert await position_of(ours.database, stream, 1) == 1
    assert await position_of(ours.database, stream, 2) == 0
    async with connected(database_url) as connection, connection.transaction():
        await connection.execute("LOCK TABLE events")
        async with asyncio.timeout(PAGE_SECONDS + 1):
            with pytest.raises(Unavailable):
                await position_of(ours.database, stream, 1)
