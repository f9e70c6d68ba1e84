"""A log that lost its tail and went on without it: what was decided on an event that is gone is decided again.

So it looks to a process whose connection never closes, as behind a pooler: a standby took over that had not heard of
the last events, and others have written since.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, OutOfStock
from infra.eventsourcing.store import Appended, Conflict
from tests.support import planted
from tests.support.log_checks import violations
from tests.support.stock import change_stock, reserve
from tests.support.write_side import (
    Guess,
    WriteSide,
    connected,
    in_one_batch,
    part,
    request,
    state_of,
    write_side,
)

pytestmark = pytest.mark.anyio


async def lose_tail(url: str, position: int) -> None:
    """The events from this position on were never sent to the standby that took over."""
    async with connected(url) as connection:
        await connection.execute("DELETE FROM events WHERE position >= $1", position)
        await connection.execute("UPDATE log_head SET position = $1", position - 1)


async def _same_place(theirs: WriteSide, product: UUID) -> None:
    await change_stock(theirs, product, 1)


async def _another_position(theirs: WriteSide, product: UUID) -> None:
    await change_stock(theirs, uuid4(), 1, new=1)
    await change_stock(theirs, product, 1)


async def _further_on(theirs: WriteSide, product: UUID) -> None:
    for _ in range(3):
        await change_stock(theirs, product, 1)


Happens = Callable[[WriteSide, UUID], Awaitable[None]]


@pytest.mark.parametrize(
    ("happens", "pieces"), [(_same_place, 11), (_another_position, 11), (_further_on, 13)], ids=lambda it: str(it)[:20]
)
async def test_nothing_is_decided_on_an_event_that_another_has_replaced(
    ours: WriteSide, theirs: WriteSide, database_url: str, happens: Happens, pieces: int
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await change_stock(ours, product, 100)  # acknowledged, and lost
    await lose_tail(database_url, 2)
    await happens(theirs, product)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 50)
    await change_stock(theirs, product, 1)
    await reserve(ours, product, pieces + 1)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 1)
    assert (await state_of(ours.database, INVENTORY, product)).available == 0
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def test_a_refusal_by_an_event_that_another_has_replaced_is_taken_back(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await reserve(ours, product, 10)
    await lose_tail(database_url, 2)
    await change_stock(theirs, product, 1)
    await reserve(ours, product, 11)
    assert (await state_of(ours.database, INVENTORY, product)).available == 0


async def test_without_the_comparison_more_is_promised_than_there_is(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await change_stock(ours, product, 100)
    await planted.plant(database_url, *planted.NO_IDENTITY)
    await lose_tail(database_url, 2)
    await change_stock(theirs, product, 1)
    await reserve(ours, product, 50)
    assert (await state_of(ours.database, INVENTORY, product)).available < 0


async def test_in_a_batch_that_is_looked_through_one_by_one_it_is_noticed_too(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    a, b, c, known = uuid4(), uuid4(), uuid4(), Guess()
    await ours.appender.append(request(part(a, 0), premises=[known]))
    assert known.last is not None
    await lose_tail(database_url, 1)
    await theirs.appender.append(request(part(a, 0)))
    verdicts = await in_one_batch(
        ours.appender,
        request(part(b, 7)),
        request(part(a, 1, 0), premises=[known]),
        request(part(a, 1), premises=[known]),
        request(part(c, 0)),
    )
    assert verdicts == [Conflict(), Conflict(), Conflict(), Appended(2)]


async def test_of_a_batch_that_builds_on_itself_only_the_first_is_compared_with_the_log(ours: WriteSide) -> None:
    a, known = uuid4(), Guess()
    await ours.appender.append(request(part(a, 0), premises=[known]))
    chain = [request(part(a, version), premises=[known if version == 1 else Guess()]) for version in (1, 2, 3)]
    assert await in_one_batch(ours.appender, *chain) == [Appended(2), Appended(3), Appended(4)]


async def test_what_is_read_at_this_moment_is_not_what_was_known_of_a_lost_event(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await change_stock(ours, product, 10, new=1)
    await change_stock(ours, product, 100)
    await lose_tail(database_url, 2)
    await change_stock(theirs, product, 1)
    state, version = await ours.commands.now(INVENTORY, product)
    assert (state.available, version) == (11, 2)


async def test_a_snapshot_of_a_lost_event_is_not_believed(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await change_stock(ours, product, 1, new=1)
    for _ in range(100):
        await change_stock(ours, product, 1)
    await ours.commands.snapshots_written()
    await lose_tail(database_url, 51)
    async with write_side(database_url) as fresh:
        for _ in range(60):
            await change_stock(fresh, product, 10)
        assert (await state_of(fresh.database, INVENTORY, product)).available == 50 + 600
