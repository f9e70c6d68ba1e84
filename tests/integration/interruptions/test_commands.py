"""A command whose client is gone at any wait: the same again tells the truth, and nobody else waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, OutOfStock, ReserveStock
from infra.concurrency.cancellation import carried_through
from infra.configs import pool_of
from infra.errors import AWAY
from infra.eventsourcing.commands.hot_stream_lock import HotStreamLock
from infra.eventsourcing.commands.metrics import Races
from infra.postgres.pool import Database, Pooled
from infra.settings import Settings
from tests.integration.log.test_beginnings import beginning
from tests.support.interruption import Moment, Work, at_each_wait, leftovers
from tests.support.log_checks import violations
from tests.support.stock import change_stock
from tests.support.write_side import WriteSide, connected, context, write_side

pytestmark = pytest.mark.anyio

PLENTY, NONE, OTHER = uuid4(), uuid4(), uuid4()
"""Products of which there are many pieces, none, and some."""
NEXT_SECONDS = 2.0
"""In which whoever comes next is answered: less than any lock that somebody could leave behind would last."""


class Deed(NamedTuple):
    """Something to be done under a name of its own, and how many rows of it a statement finds then."""

    do: Callable[[WriteSide, UUID], Work]
    once: int
    found: str = "SELECT FROM events WHERE data ->> 'order_id' = $1"


async def _reserve(side: WriteSide, name: UUID, product: UUID = PLENTY) -> None:
    command = ReserveStock(product_id=product, order_id=name, quantity=1)
    await side.commands.handle((INVENTORY, product), command, context(str(name)))


async def _reserve_in_turn(side: WriteSide, name: UUID) -> None:
    side.commands._turns.mark_contended([(INVENTORY, PLENTY)])
    await _reserve(side, name)


async def _reserve_what_must_be_read(side: WriteSide, name: UUID) -> None:
    await change_stock(side, OTHER, 1)  # there is room for one state
    await _reserve(side, name)


async def _reserve_in_vain(side: WriteSide, name: UUID) -> None:
    with pytest.raises(OutOfStock):
        await _reserve(side, name, NONE)


async def _add_many(side: WriteSide, name: UUID) -> None:
    begun = [beginning(UUID(int=name.int << 8 | at), f"{name}-{at}", key=f"{name}-{at}") for at in range(24)]
    groups = [begun[:8], begun[8:16], begun[16:]]
    assert await side.commands.create_many(groups, resting_on=[(INVENTORY, PLENTY)]) == [None] * 24


async def _note(side: WriteSide, name: UUID) -> None:
    async def act(connection: Pooled) -> dict[str, Any]:
        await connection.execute("INSERT INTO noted VALUES ($1)", str(name))
        return {"name": str(name)}

    assert (await side.commands.write(act, context(str(name)))).answer == {"name": str(name)}


DEEDS = {
    "one stream": Deed(_reserve, 1),
    "in turn": Deed(_reserve_in_turn, 1),
    "read from the log": Deed(_reserve_what_must_be_read, 1),
    "refused": Deed(_reserve_in_vain, 0),
    "many at once": Deed(_add_many, 24, "SELECT FROM events WHERE data ->> 'sku' LIKE $1 || '-%'"),
    "rows": Deed(_note, 1, "SELECT FROM noted WHERE name = $1"),
}


@pytest.fixture
async def side(database_url: str) -> AsyncIterator[WriteSide]:
    """One that remembers a single stream."""
    async with write_side(database_url, streams=1, spare=True, largest_batch=16) as opened:
        await opened.database.execute("CREATE TABLE noted (name text)")
        for product, pieces in ((PLENTY, 1_000), (NONE, 1), (OTHER, 1)):
            await change_stock(opened, product, pieces, new=1)
        await change_stock(opened, NONE, -1)
        yield opened


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
async def test_the_same_again_tells_the_truth(side: WriteSide, database_url: str, deed: Deed, moment: Moment) -> None:
    async with leftovers(side.database) as left:
        async for cut in at_each_wait(lambda place: deed.do(side, UUID(int=place)), moment):
            async with asyncio.timeout(NEXT_SECONDS):
                await deed.do(side, UUID(int=cut.place))
            assert len(await side.database.fetch(deed.found, str(UUID(int=cut.place)))) == deed.once, cut
            await left.none()
    async with connected(database_url) as connection:
        assert await violations(connection) == []


@pytest.mark.parametrize("moment", Moment)
async def test_a_turn_is_given_back(settings: Settings, moment: Moment) -> None:
    database = Database(pool_of(settings))
    turns = HotStreamLock(database, Races(), on_turn=lambda _: None)

    async def take_part() -> None:
        async with turns.hold():
            await asyncio.sleep(0)

    async with leftovers(database) as left:
        async for _ in at_each_wait(lambda _: take_part(), moment):
            await left.none()
            assert not await database.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory'")
            async with asyncio.timeout(NEXT_SECONDS):
                await take_part()
    await turns.close()
    await database.close()


@pytest.mark.parametrize("moment", Moment)
async def test_at_the_end_of_a_process_nobody_waits_on_for_what_is_not_stored(
    database_url: str, moment: Moment
) -> None:
    """The end waits for what is under way, and may itself be told to hurry."""
    endings = list[Exception | None]()

    async def ask(side: WriteSide) -> None:
        try:
            await change_stock(side, uuid4(), 1, new=1)
        except AWAY as error:
            endings.append(error)
        else:
            endings.append(None)

    async def end(side: WriteSide) -> None:
        asking = [asyncio.create_task(ask(side)) for _ in range(40)]
        try:
            await asyncio.sleep(0)
            await side.appender.close()
        finally:
            await carried_through(asyncio.wait(asking, timeout=NEXT_SECONDS))

    async with AsyncExitStack() as stack, leftovers() as left:
        sides = [await stack.enter_async_context(write_side(database_url)) for _ in range(10)]
        async for _ in at_each_wait(lambda place: end(sides[place]), moment):
            assert len(endings) == 40
            endings.clear()
            await left.none()
