"""A worker that is paused while it holds the row of one order: the timers and refunds of all others go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.kernel.messages import shard_of
from domain.orders import RefundOrder
from domain.orders.payment_deadline import ORDER_TIME
from infra.eventsourcing.leases.checkpoints import IDLE_SECONDS
from infra.eventsourcing.process_managers import timer_store
from infra.settings import Settings
from tests.conftest import SHARDS
from tests.support.mail_office import tasks
from tests.support.refunding import Till, refunding
from tests.support.write_side import WriteSide, connected, eventually

pytestmark = pytest.mark.anyio

_LOCK = "SELECT FROM processes WHERE stream_id = $1 FOR UPDATE"


@pytest.fixture
async def till(settings: Settings, ours: WriteSide, tmp_path: Path) -> AsyncIterator[Till]:
    async with refunding(settings, ours, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def somebody_at(till: Till, order_id: UUID) -> AsyncIterator[None]:
    """Whoever holds the row, and is ended by nobody until the block is."""
    async with connected(till.settings.database_url.get_secret_value()) as other, other.transaction():
        await other.execute(_LOCK, order_id)
        yield


async def orders_elsewhere(till: Till, order_id: UUID, left: timedelta) -> list[UUID]:
    """New orders in all other shards."""
    found: dict[int, UUID] = {}
    while len(found) < SHARDS - 1:
        other = await till.scene.order(left)
        if shard_of(other, SHARDS) != shard_of(order_id, SHARDS):
            found.setdefault(shard_of(other, SHARDS), other)
    return list(found.values())


async def ended(till: Till, orders: list[UUID]) -> bool:
    return all([(await till.told(order))[-1] == "cancelled" for order in orders])


async def test_an_order_that_somebody_is_at_holds_up_no_timer_of_another_shard(till: Till) -> None:
    held = await till.scene.order()
    await till.scene.follow()
    async with somebody_at(till, held), tasks(till.settings):
        await till.scene.pay(held)
        late = await orders_elsewhere(till, held, timedelta(seconds=-1))
        await eventually(lambda: ended(till, late), 10)


async def test_an_order_that_somebody_is_at_holds_up_no_refund_of_another_shard(till: Till) -> None:
    held = await till.scene.order()
    await till.scene.follow()
    async with somebody_at(till, held), tasks(till.settings):
        await till.scene.pay(held)
        owed = await orders_elsewhere(till, held, timedelta(hours=1))
        for order_id in owed:
            await till.scene.pay(order_id, f"pay-{order_id}")
            await till.scene.command(order_id, RefundOrder())

        async def returned() -> bool:
            return all([(await till.told(order))[-1] == "money_returned" for order in owed])

        await eventually(returned, 10)


async def test_what_the_order_waited_with_is_done_once_it_is_free(till: Till) -> None:
    held = await till.scene.order(timedelta(hours=1))
    await till.scene.follow()
    async with tasks(till.settings):
        async with somebody_at(till, held):
            await till.scene.pay(held)
            await till.scene.command(held, RefundOrder())
            late = await orders_elsewhere(till, held, timedelta(seconds=-1))
            await eventually(lambda: ended(till, late), 10)

        async def returned() -> bool:
            return (await till.told(held))[-1] == "money_returned"

        await eventually(returned, 10)
        assert await till.scene.timers(held) == set()


@pytest.mark.parametrize("take", [timer_store.held, timer_store.held_unless_busy])
async def test_who_stands_still_with_a_row_in_hand_is_ended_by_the_server(till: Till, take: object) -> None:
    order_id = await till.scene.order()
    await till.scene.follow()
    async with connected(till.settings.database_url.get_secret_value()) as paused:
        await paused.execute("BEGIN")
        await take(paused, ORDER_TIME.name, [order_id])  # type: ignore[operator]

        async def free() -> bool:
            return paused.is_closed()

        await eventually(free, IDLE_SECONDS + 3)
