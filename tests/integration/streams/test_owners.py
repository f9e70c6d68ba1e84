"""Owners that stall, are cut off, or are of another release: others take over in time, and nobody is held up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from domain.kernel.messages import Recorded, shard_of
from infra.errors import Unavailable
from infra.eventsourcing.configs import LOCK_SECONDS
from infra.eventsourcing.consumers.consumer import Answers, Batch, Lease, Refusal, move
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.leases import Place
from infra.eventsourcing.projections import parked_streams
from infra.eventsourcing.projections.projection import Projection, amend
from infra.eventsourcing.projections.rebuild import begin, build, finish, shares
from infra.postgres.pool import Connection
from infra.settings import Settings
from projections.order_summary import ORDER_SUMMARY
from projections.product_card import PRODUCT_CARD, ListedProduct
from projections.registry import PROJECTIONS
from tests.integration.read_models.test_parking import poisoned
from tests.integration.read_models.test_replay import rebuilt
from tests.integration.streams.test_consumers import proxied
from tests.support.builders import ORDER_ID, order_placed
from tests.support.consumers import SHARDED, WHOLE_LOG, Recorder, Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import expected_rows, order, stored_rows
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

LEASE_SECONDS = 5.0


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


WAITING = "SELECT query_start FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE NOT granted)"


@asynccontextmanager
async def holding(scene: Scene, consumer: str, shard: int) -> AsyncIterator[Connection]:
    """Somebody who has locked a checkpoint, and does not let go inside."""
    async with connected(scene.settings.database_url.get_secret_value()) as session, session.transaction():
        await session.execute("SELECT FROM checkpoints WHERE consumer = $1 AND shard = $2 FOR UPDATE", consumer, shard)
        yield session


async def applied(scene: Scene, consumer: str, position: int, shard: int) -> bool:
    rows = await scene.database.fetch(
        "SELECT FROM checkpoints WHERE consumer = $1 AND shard = $2 AND position >= $3", consumer, shard, position
    )
    return bool(rows)


def stream_in(scene: Scene, shard: int) -> UUID:
    return next(each for each in iter(scene.shop.id, None) if shard_of(each, scene.log.shards) == shard)


class Stalling(Recorder):
    """One that stops in the middle of its transaction, with its checkpoints moved and not committed."""

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[int]:
        async with session.transaction():
            refused = await move(session, batches)
            self.begun.set()
            await asyncio.Event().wait()
        return refused


async def test_an_owner_that_stalls_in_its_transaction_is_taken_over_within_twice_the_lease(scene: Scene) -> None:
    sleeper, seconds = Stalling(whole=False), 2.0
    async with (
        proxied(scene.settings.database_url) as (proxy, url),
        scene.process([sleeper], database_url=url, lease_seconds=seconds),
    ):
        await scene.happens(50)
        await asyncio.wait_for(sleeper.begun.wait(), 10)
        proxy.stall()
        async with scene.process([Recorder(whole=False)], lease_seconds=seconds) as other:
            async with asyncio.timeout(2 * seconds + 2.0):  # and the turns of the one that takes over
                await eventually(lambda: holds(other, scene.log.shards), 30)
            await scene.all_seen(SHARDED)
        proxy.resume()


async def holds(host: Any, count: int) -> bool:
    return len(host.leases) == count


async def test_a_checkpoint_that_is_locked_keeps_nobody_from_taking_the_others(scene: Scene) -> None:
    async with scene.process([Recorder(whole=False)]):
        await scene.happens(20)
        await scene.all_seen(SHARDED)
    async with holding(scene, SHARDED, 0), scene.process([Recorder(whole=False)]) as host:
        await eventually(lambda: holds(host, scene.log.shards - 1))
        assert Place(SHARDED, 0, 0) not in host.leases
    async with scene.process([Recorder(whole=False)]):
        await scene.all_seen(SHARDED)


async def test_a_long_retry_in_one_shard_holds_up_neither_other_shards_nor_other_read_models(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(50)
        await scene.kept()
        async with holding(scene, "order_summary", 0):
            zero, one = stream_in(scene, 0), stream_in(scene, 1)
            positions = await scene.writer.append(
                [order(zero, order_placed(order_id=zero)), order(one, order_placed(order_id=one))]
            )
            await eventually(lambda: applied(scene, "order_summary", positions[1], 1), LOCK_SECONDS)
            await eventually(lambda: applied(scene, "shop_counts", positions[0], 0), LOCK_SECONDS)
            assert not await applied(scene, "order_summary", positions[0], 0)
        await scene.kept()


async def others_are_up_to_date(scene: Scene, locked: str) -> bool:
    behind = await scene.database.fetchrow(
        "SELECT FROM checkpoints c WHERE consumer <> $1 AND generation = 1 AND position < "
        "(SELECT coalesce(max(position), 0) FROM events e WHERE e.shard = c.shard)",
        locked,
    )
    return behind is None


async def test_a_table_that_somebody_locks_holds_up_other_read_models_for_less_than_twice_the_lease(
    scene: Scene,
) -> None:
    async with scene.relay(), scene.projector(lease_seconds=LEASE_SECONDS):
        await scene.happens(50)
        await scene.kept()
        async with connected(scene.settings.database_url.get_secret_value()) as ddl, ddl.transaction():
            await ddl.execute(f"LOCK TABLE {ORDER_SUMMARY.table(1)}")
            for _ in range(3):
                await scene.happens(20)
                await eventually(lambda: others_are_up_to_date(scene, "order_summary"), 2 * LEASE_SECONDS)
        await scene.kept()


async def test_what_waits_behind_a_lock_is_bounded_and_all_applied_when_it_is_let_go(scene: Scene) -> None:
    async with scene.relay(), scene.projector({"order_summary": ORDER_SUMMARY, "product_card": PRODUCT_CARD}) as host:
        await scene.happens(20)
        await scene.reached("order_summary")
        async with holding(scene, "order_summary", 0):
            one = stream_in(scene, 0)
            for _ in range(4):
                orders = [stream_in(scene, 0) for _ in range(400)]
                await scene.writer.append([order(each, order_placed(order_id=each)) for each in orders])
            (last,) = await scene.writer.append([order(one, order_placed(order_id=one))])
            await eventually(lambda: applied(scene, "product_card", last, 0))
            (held,) = [lease for place, lease in host.leases.items() if place[::2] == ("order_summary", 0)]
            assert len(held.wanted) < 1_100
        await scene.kept_by(ORDER_SUMMARY)


async def test_a_release_is_given_no_generation_that_another_version_of_the_fold_has_made(scene: Scene) -> None:
    def project(row: ListedProduct | None, event: Recorded) -> ListedProduct | None:
        after = PRODUCT_CARD.project(row, event)
        return amend(after, description=f"the newer release says {event.version}") if after else None

    newer: Projection[Any] = replace(PRODUCT_CARD, version=PRODUCT_CARD.version + 1, project=project)
    async with scene.relay(), scene.projector() as older:
        await scene.happens(100)
        await scene.kept()
        await rebuilt(scene, newer)
        await scene.happens(50)
        await eventually(lambda: holds(older, (len(PROJECTIONS) - 1) * scene.log.shards))
        async with scene.projector({"product_card": newer, "order_summary": ORDER_SUMMARY}) as both:
            await scene.happens(50)
            await scene.kept_by(newer, generation=2)
            await scene.kept_by(ORDER_SUMMARY)
            assert {place[:2] for place in both.leases} >= {("product_card", 2)}
    assert await stored_rows(scene.writer.session, newer, 2) == await expected_rows(scene.writer.session, newer)


async def taken(scene: Scene, place: Place) -> Lease:
    """The place, in the hands of somebody who does nothing with it."""
    row = await scene.writer.session.fetchrow(
        "UPDATE checkpoints SET owner = $4, epoch = epoch + 1 WHERE consumer = $1 AND generation = $2 AND shard = $3 "
        "RETURNING owner, epoch, position, refreshed AS cache_position",
        *place,
        uuid4(),
    )
    assert row is not None
    return Lease(place=place, **row)


async def test_who_was_the_owner_takes_up_no_parked_stream(scene: Scene) -> None:
    await poisoned(scene)
    await scene.database.execute("UPDATE parked SET unknown = true")
    place = Place("order_summary", 1, shard_of(ORDER_ID, scene.log.shards))
    former, present = await taken(scene, place), await taken(scene, place)
    async with scene.database.session() as session:
        for lease, parked in ((former, {ORDER_ID}), (present, set[UUID]())):
            await parked_streams.recall(session, scene.log, [lease], PROJECTIONS)
            assert lease.consumer_state == parked


async def test_an_epoch_that_was_given_twice_over_a_failover_fences_still(scene: Scene) -> None:
    """A server that fails over may have forgotten whom it gave an epoch to."""
    place = Place("order_summary", 1, 0)
    former = await taken(scene, place)
    await scene.database.execute("UPDATE checkpoints SET epoch = epoch - 1")
    present = await taken(scene, place)
    assert former.epoch == present.epoch
    async with scene.database.session() as session:
        assert await move(session, [Batch(former, [], former.position, None)]) == {former: Refusal.FENCED}
        assert await move(session, [Batch(present, [], present.position, None)]) == {}


async def test_a_switch_that_finds_a_checkpoint_held_waits_its_turn_again(scene: Scene) -> None:
    async with scene.projector():
        await scene.happens(100)
        await scene.kept()
    async with connected(scene.settings.database_url.get_secret_value()) as session:
        building = await begin(session, scene.log, ORDER_SUMMARY)
        for share in await shares(session, building, 1):
            await build(session, building, share, lambda *_: None)
        seen = set[datetime]()

        async def has_come_again() -> bool:
            """Each try is a statement of its own: between two of them it may not be seen to stand aside."""
            seen.update(row["query_start"] for row in await scene.database.fetch(WAITING))
            return len(seen) > 2

        async with holding(scene, "order_summary", 2):
            finishing = asyncio.create_task(finish(session, building))
            await eventually(has_come_again, 20)
            assert not finishing.done()
        assert (await finishing).generation == 2


async def test_moves_notes_and_switches_never_deadlock(scene: Scene) -> None:
    """Owners name their places in whatever order they have come by them."""
    places = [Place("order_summary", 1, shard) for shard in (3, 1, 0, 2)]
    leases = [await taken(scene, place) for place in places]
    url = scene.settings.database_url.get_secret_value()

    async def moving(order: Sequence[Lease]) -> None:
        async with connected(url) as session:
            for _ in range(150):
                await move(session, [Batch(lease, [], lease.position, None) for lease in order])

    async def switching() -> None:
        async with connected(url) as session:
            for _ in range(150):
                async with session.transaction():
                    await session.fetch(
                        "SELECT FROM checkpoints WHERE consumer = 'order_summary' ORDER BY shard FOR UPDATE"
                    )

    try:
        await asyncio.gather(moving(leases), moving(leases[::-1]), switching())
    except asyncpg.DeadlockDetectedError as deadlock:  # pragma: no cover
        pytest.fail(str(deadlock))


class Starved(Recorder):
    """Finds nothing to work with for a while."""

    def __init__(self, times: int) -> None:
        super().__init__(whole=True)
        self._times = times
        self.tries: list[float] = []

    async def advance(self, session: Session, batches: Sequence[Batch]) -> Answers[int]:
        self.tries.append(asyncio.get_running_loop().time())
        if len(self.tries) <= self._times:
            raise Unavailable("no file is left to connect by")
        return await super().advance(session, batches)


async def test_who_loses_what_it_takes_again_and_again_takes_it_ever_more_slowly(scene: Scene) -> None:
    starved = Starved(times=8)
    await scene.happens(5)
    async with scene.process([starved]):
        await scene.all_seen(WHOLE_LOG)
    # Each pause is at least half of what it was meant to be: of 10 ms, and twice as long each time.
    assert starved.tries[8] - starved.tries[0] > sum(0.01 * 2**loss / 2 for loss in range(8))
