"""Read models: their rows are what the log says, and the cache hears of every change after its commit."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from domain.inventory import StockReceived
from domain.kernel.messages import Recorded, shard_of
from domain.orders import OrderPaid
from infra.eventsourcing.projections.projection import Projection, amend
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY, OrderSummary
from projections.product_card import PRODUCT_CARD
from projections.registry import PROJECTIONS
from tests.support.builders import ORDER_ID, PRODUCT_ID, order_paid, order_placed, order_shipped, product_added
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import expected_rows, order, product, stock, stored_rows
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


async def cache_follows(scene: Scene, generation: int = 1) -> None:
    """Waits until Postgres knows that the cache is up to date, and sees that it holds no row but the newest."""

    async def noted() -> bool:
        rows = await scene.database.fetch("SELECT FROM checkpoints WHERE refreshed < position")
        return not rows

    await eventually(noted)
    for projection in PROJECTIONS.values():
        rows = await stored_rows(scene.writer.session, projection, generation)
        for (name, of, key), document in scene.told.documents.items():
            if (name, of) == (projection.name, generation):
                assert document.position == rows[key][0]


async def test_rows_are_what_an_independent_fold_of_the_log_says(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        for _ in range(30):
            await scene.happens(20)
        await scene.kept()


async def test_a_row_that_is_made_is_foreseen_only_if_it_cannot_have_been_made_before(scene: Scene) -> None:
    """What was there when the place was taken may be made anew, after commits were lost: then readers know more."""
    await scene.happens(60)
    async with scene.relay():
        async with scene.projector(lease_seconds=10.0):
            await scene.kept()
            assert scene.told.foreseen == []
            head = await scene.happens(60)
            await scene.kept()
            foreseen = {key for name, _, key in scene.told.foreseen if name == ORDER_SUMMARY.name}
            assert foreseen
            assert foreseen <= await placed(scene, head - 60)
            assert not [name for name, *_ in scene.told.foreseen if not PROJECTIONS[name].read_back]
        scene.told.foreseen.clear()
        await scene.database.execute(
            "UPDATE checkpoints SET position = 0, refreshed = 0 WHERE consumer = $1", "order_summary"
        )
        async with scene.projector():
            await scene.kept()
            assert scene.told.foreseen == []


async def placed(scene: Scene, after: int) -> set[str]:
    rows = await scene.database.fetch(
        "SELECT stream_id FROM events WHERE type = 'order.placed' AND position > $1", after
    )
    return {str(row["stream_id"]) for row in rows}


async def test_a_new_owner_goes_on_with_the_rows_of_the_former(scene: Scene) -> None:
    async with scene.relay():
        for _ in range(4):
            async with scene.projector():
                await scene.happens(100)
                await scene.kept()


async def test_two_owners_keep_one_read_model(scene: Scene) -> None:
    async with scene.relay(), scene.projector(), scene.projector():
        for _ in range(10):
            await scene.happens(30)
        await scene.kept()


async def test_a_wipe_of_redis_in_the_middle_changes_no_row(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        for number in range(20):
            await scene.happens(20)
            if number % 4 == 0:
                await scene.redis.flushall()
        await scene.kept()


async def test_every_change_is_refreshed_before_it_is_announced(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(200)
        await scene.kept()
        await cache_follows(scene)
        told = {(name, key): at for name, _, _, _, keys in scene.told.news for key, at in keys}
        for projection in PROJECTIONS.values():
            rows = await stored_rows(scene.writer.session, projection, 1)
            assert {key: told[projection.name, key] for key in rows} == {key: row[0] for key, row in rows.items()}


async def test_each_shard_is_announced_up_to_its_last_event(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(200)
        await scene.kept()
        await cache_follows(scene)
        announced = {(name, shard): position for name, _, shard, position, _ in scene.told.news}
        rows = await scene.database.fetch("SELECT consumer, shard, position FROM checkpoints WHERE position > 0")
        assert {(row[0], row[1]): row[2] for row in rows} == announced


async def test_while_the_cache_is_away_rows_are_kept_and_afterwards_it_is_brought_up(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(100)
        await scene.kept()
        await cache_follows(scene)
        scene.told.away = True
        await scene.happens(200)
        await scene.kept()
        behind = await scene.database.fetch("SELECT FROM checkpoints WHERE refreshed < position")
        assert behind
        scene.told.away = False
        await cache_follows(scene)


async def test_what_one_owner_could_not_tell_the_next_one_tells(scene: Scene) -> None:
    async with scene.relay():
        scene.told.away = True
        async with scene.projector():
            await scene.happens(200)
            await scene.kept()
        assert scene.told.news == []
        scene.told.away = False
        async with scene.projector():
            await cache_follows(scene)
        assert len(scene.told.documents) == sum(
            [len(await stored_rows(scene.writer.session, each, 1)) for each in PROJECTIONS.values()]
        )


def failing(event_type: type, error: Exception) -> Mapping[str, Projection[Any]]:
    """The read models, of which the order summary cannot take one kind of event."""

    def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        if isinstance(event.data, event_type):
            raise error
        return ORDER_SUMMARY.project(row, event)

    return {**PROJECTIONS, "order_summary": amend(ORDER_SUMMARY, project=project)}


async def parked(scene: Scene) -> list[tuple[str, UUID, int]]:
    rows = await scene.database.fetch("SELECT consumer, stream_id, position FROM parked ORDER BY id")
    return [(row[0], row[1], row[2]) for row in rows]


async def status(scene: Scene, order_id: UUID) -> str:
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 1)
    found: str = rows[str(order_id)][1]["status"]
    return found


async def test_a_poison_event_parks_its_stream_and_nothing_else(scene: Scene) -> None:
    other = scene.shop.id()
    async with scene.relay(), scene.projector(failing(OrderPaid, ValueError("broken"))):
        positions = await scene.writer.append(
            [
                order(ORDER_ID, order_placed()),
                order(other, order_placed(order_id=other)),
                order(ORDER_ID, order_paid()),
                order(ORDER_ID, order_shipped()),
            ]
        )
        await scene.happens(50)
        await scene.reached("order_summary")
        await scene.reached("product_card")
        assert ("order_summary", ORDER_ID, positions[2]) in await parked(scene)
        assert await status(scene, ORDER_ID) == "pending"
        assert await status(scene, other) == "pending"
        assert await stored_rows(scene.writer.session, PRODUCT_CARD, 1) == await expected_rows(
            scene.writer.session, PRODUCT_CARD
        )


async def test_a_new_owner_knows_which_streams_are_parked(scene: Scene) -> None:
    async with scene.relay(), scene.projector(failing(OrderPaid, ValueError("broken"))):
        await scene.writer.append([order(ORDER_ID, order_placed()), order(ORDER_ID, order_paid())])
        await scene.reached("order_summary")
    async with scene.relay(), scene.projector():
        await scene.writer.append([order(ORDER_ID, order_shipped())])
        await scene.reached("order_summary")
        assert await status(scene, ORDER_ID) == "pending"


async def test_values_that_postgres_refuses_park_the_event_that_led_to_them(scene: Scene) -> None:
    delivery = StockReceived(product_id=PRODUCT_ID, quantity=2**62, reason="delivery")
    async with scene.relay(), scene.projector():
        positions = await scene.writer.append(
            [
                product(PRODUCT_ID, product_added()),
                *[stock(PRODUCT_ID, delivery) for _ in range(3)],
                *scene.shop.happenings(60),
            ]
        )
        await scene.reached("product_card")
        assert [(name, position) for name, _, position in await parked(scene)] == [("product_card", positions[2])]
        rows = await stored_rows(scene.writer.session, PRODUCT_CARD, 1)
        expected = await expected_rows(scene.writer.session, PRODUCT_CARD)
        assert rows[str(PRODUCT_ID)][1]["stock_available"] == 2**62
        assert {key: row for key, row in rows.items() if key != str(PRODUCT_ID)} == {
            key: row for key, row in expected.items() if key != str(PRODUCT_ID)
        }


async def test_an_event_of_a_newer_release_holds_its_stream_until_somebody_knows_it(scene: Scene) -> None:
    async with scene.relay(), scene.projector() as host:
        await scene.writer.append([order(ORDER_ID, order_placed())])
        await scene.writer.append_raw(ORDER_ID, ORDER_ID, "order", "order.praised", b"{}")
        await scene.writer.append([order(ORDER_ID, order_paid())])
        await scene.reached("order_summary")
        rows = await scene.database.fetch(
            "SELECT consumer, event_type, unknown FROM parked WHERE consumer = 'order_summary'"
        )
        assert [tuple(row) for row in rows] == [("order_summary", "order.praised", True)]
        assert await status(scene, ORDER_ID) == "pending"
        assert host.metrics["order_summary"].unknown._value.get() == 1


async def test_an_unknown_event_of_another_context_concerns_nobody(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.writer.append_raw(ORDER_ID, ORDER_ID, "parcel", "parcel.arrived", b"{}")
        await scene.happens(20)
        await scene.kept()
        assert await parked(scene) == []


async def test_an_owner_whose_epoch_was_raised_forgets_what_it_remembers(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.writer.append([order(ORDER_ID, order_placed())])
        await scene.reached("order_summary")
        await scene.database.execute("DELETE FROM rm_order_summary_1")
        await scene.database.execute(
            "UPDATE checkpoints SET epoch = epoch + 1, owner = NULL, position = 0 WHERE consumer = 'order_summary'"
        )
        await scene.writer.append([order(ORDER_ID, order_paid())])
        await scene.kept()


async def test_a_checkpoint_that_went_back_in_a_crash_fences_and_is_made_good(scene: Scene) -> None:
    """Commits that did not wait for the disk can be lost: rows and checkpoint together, the epoch with neither."""
    shard = shard_of(ORDER_ID, scene.log.shards)
    neighbour = next(each for each in iter(scene.shop.id, None) if shard_of(each, scene.log.shards) == shard)
    async with scene.relay(), scene.projector():
        await scene.writer.append([order(ORDER_ID, order_placed()), order(neighbour, order_placed(order_id=neighbour))])
        await scene.kept()
        await scene.database.execute("DELETE FROM rm_order_summary_1")
        await scene.database.execute("UPDATE checkpoints SET position = 0 WHERE consumer = 'order_summary'")
        await scene.writer.append([order(ORDER_ID, order_paid())])
        await scene.kept()


@asynccontextmanager
async def locked(scene: Scene) -> AsyncIterator[None]:
    """While inside, no checkpoint moves."""
    async with scene.database.write() as session:
        await session.execute("SELECT FROM checkpoints FOR UPDATE")
        yield


async def test_rows_and_checkpoint_move_together_or_not_at_all(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(10)
        await scene.kept()
        before = await stored_rows(scene.writer.session, ORDER_SUMMARY, 1)
        async with locked(scene):
            await scene.happens(100)
            await asyncio.sleep(0.2)  # long enough to have been applied, if it could be
            assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 1) == before
        await scene.kept()
