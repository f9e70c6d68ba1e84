"""Parked streams: listed, retried and skipped, beside an owner that goes on working."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from domain.inventory import StockReceived
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.fold import FailedEvent
from infra.eventsourcing.projections.parked_streams import KeptByAnother, NotParked
from infra.eventsourcing.projections.projection import Projection
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from projections.product_card import PRODUCT_CARD
from projections.registry import PROJECTIONS
from tests.integration.read_models.test_projections import cache_follows, failing, parked
from tests.support.builders import ORDER_ID, PRODUCT_ID, order_paid, order_placed, order_shipped, product_added
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import order, product, stock, stored_rows
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


async def poisoned(scene: Scene) -> list[int]:
    """An order whose payment was poison, parked; its shipping came later. Answers the positions of its events."""
    async with scene.relay(), scene.projector(failing(type(order_paid()), ValueError("broken"))):
        positions = await scene.writer.append(
            [order(ORDER_ID, order_placed()), order(ORDER_ID, order_paid()), order(ORDER_ID, order_shipped())]
        )
        await scene.reached("order_summary")
    return positions


async def number(scene: Scene) -> int:
    async with scene.database.session() as session:
        return (await parked_streams.listed(session))[0].id


async def retried(
    scene: Scene, projections: Mapping[str, Projection[Any]] = PROJECTIONS
) -> parked_streams.Parked | None:
    async with scene.database.session() as session:
        return await parked_streams.retry(session, scene.log, await number(scene), projections)


async def test_what_is_parked_is_listed_with_its_reason(scene: Scene) -> None:
    positions = await poisoned(scene)
    async with scene.database.session() as session:
        listed = await parked_streams.listed(session)
    assert [(each.consumer, each.stream_id, each.position, each.event_type) for each in listed] == [
        ("order_summary", ORDER_ID, positions[1], "order.paid")
    ]
    assert listed[0].error == "ValueError: broken"


async def test_a_retry_applies_the_stream_from_its_failing_event_on(scene: Scene) -> None:
    positions = await poisoned(scene)
    assert await retried(scene) is None
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 1)
    assert (rows[str(ORDER_ID)][0], rows[str(ORDER_ID)][1]["status"]) == (positions[2], "shipped")
    assert await parked(scene) == []


async def test_a_retry_beside_a_working_owner_ends_in_what_the_log_says(scene: Scene) -> None:
    await poisoned(scene)
    async with scene.relay(), scene.projector():
        await scene.happens(100)
        assert await retried(scene) is None
        await scene.happens(100)
        await scene.kept()


async def test_after_a_retry_the_owner_takes_the_stream_up_again(scene: Scene) -> None:
    await poisoned(scene)
    async with scene.relay(), scene.projector():
        await scene.happens(20)
        await scene.reached("order_summary")
        assert await retried(scene) is None
        await scene.writer.append([order(ORDER_ID, order_paid())])
        await scene.kept()


async def test_after_a_retry_the_cache_hears_of_the_row(scene: Scene) -> None:
    positions = await poisoned(scene)
    async with scene.relay(), scene.projector():
        await scene.happens(20)
        await scene.reached("order_summary")
        assert await retried(scene) is None

        async def heard() -> bool:
            document = scene.told.documents.get(("order_summary", 1, str(ORDER_ID)))
            return document is not None and document.position == positions[2]

        await eventually(heard)
        await cache_follows(scene)


async def test_a_retry_that_fails_again_says_so_and_changes_nothing(scene: Scene) -> None:
    await poisoned(scene)
    before = await stored_rows(scene.writer.session, ORDER_SUMMARY, 1)
    still = await retried(scene, failing(type(order_paid()), ValueError("still broken")))
    assert still is not None
    assert (still.error, still.attempts) == ("ValueError: still broken", 2)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 1) == before
    assert len(await parked(scene)) == 1


async def test_a_skip_leaves_out_the_failing_event_alone(scene: Scene) -> None:
    await poisoned(scene)
    async with scene.database.session() as session:
        assert await parked_streams.skip(session, scene.log, await number(scene), PROJECTIONS) is None
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 1)
    document = rows[str(ORDER_ID)][1]
    assert (document["status"], document["paid_at"]) == ("shipped", None)


async def test_what_postgres_still_refuses_stays_parked(scene: Scene) -> None:
    delivery = StockReceived(product_id=PRODUCT_ID, quantity=2**62, reason="delivery")
    async with scene.relay(), scene.projector():
        await scene.writer.append(
            [product(PRODUCT_ID, product_added()), stock(PRODUCT_ID, delivery), stock(PRODUCT_ID, delivery)]
        )
        await scene.reached("product_card")
    still = await retried(scene)
    assert still is not None
    assert still.attempts == 2
    rows = await stored_rows(scene.writer.session, PRODUCT_CARD, 1)
    assert rows[str(PRODUCT_ID)][1]["stock_available"] == 2**62


async def test_only_what_is_parked_can_be_taken_up(scene: Scene) -> None:
    async with scene.database.session() as session:
        with pytest.raises(NotParked):
            await parked_streams.retry(session, scene.log, 17, PROJECTIONS)


async def test_a_stream_is_not_taken_up_by_a_release_that_folds_in_another_way(scene: Scene) -> None:
    await poisoned(scene)
    await scene.database.execute("UPDATE generations SET code_version = 99 WHERE projection = 'order_summary'")
    with pytest.raises(KeptByAnother):
        await retried(scene)
    assert len(await parked(scene)) == 1


async def test_each_stream_of_a_product_is_parked_by_itself(scene: Scene) -> None:
    received = StockReceived(product_id=PRODUCT_ID, quantity=5, reason="delivery")
    async with scene.relay(), scene.projector(failing(type(None), ValueError())):
        positions = await scene.writer.append([product(PRODUCT_ID, product_added())])
        positions.append(
            await scene.writer.append_raw(PRODUCT_ID, PRODUCT_ID, "product", "product.repriced", b'{"price":7}')
        )
        positions += await scene.writer.append([stock(PRODUCT_ID, received)])
        await scene.reached("product_card")
    assert await parked(scene) == [("product_card", PRODUCT_ID, positions[1])]
    rows = await stored_rows(scene.writer.session, PRODUCT_CARD, 1)
    assert rows[str(PRODUCT_ID)][1]["stock_available"] == 5


async def test_an_event_that_a_release_has_learnt_is_taken_up_by_the_next_owner(scene: Scene) -> None:
    positions = await poisoned(scene)
    # As an older release would have left it.
    await scene.database.execute("UPDATE parked SET unknown = true")
    async with scene.relay(), scene.projector():
        await scene.happens(200)
        await scene.kept()
        assert await parked(scene) == []
        await cache_follows(scene)
        document = scene.told.documents["order_summary", 1, str(ORDER_ID)]
        assert document.position == positions[2]


async def test_it_need_not_wait_for_another_event_of_its_shard(scene: Scene) -> None:
    positions = await poisoned(scene)
    await scene.database.execute("UPDATE parked SET unknown = true")
    async with scene.projector():

        async def heard() -> bool:
            document = scene.told.documents.get(("order_summary", 1, str(ORDER_ID)))
            return document is not None and document.position == positions[2]

        await eventually(heard)


async def test_a_consumer_that_is_no_read_model_brings_its_own_way_to_apply(scene: Scene) -> None:
    positions = await poisoned(scene)
    seen: list[int] = []

    async def apply(_session: object, _parked: object, entries: Sequence[object]) -> FailedEvent | None:
        seen.extend(entry.position for entry in entries)  # type: ignore[attr-defined]
        return None

    async with scene.database.session() as session:
        assert (
            await parked_streams.retry(session, scene.log, await number(scene), PROJECTIONS, {"order_summary": apply})
            is None
        )
    assert seen == positions[1:]
