"""Rebuilding read models beside those that serve: the same rows, one switch, and nothing that readers could notice."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from cli.operations.replay import register
from domain.accounts import AccountDeactivated, AccountErased, AccountProfileChanged, AccountSessionEnded, EndedBy
from domain.inventory import StockReceived
from domain.kernel.messages import Event, Recorded
from domain.orders import OrderPaid
from infra.eventsourcing.projections.fold_table import Folds
from infra.eventsourcing.projections.generations import create_indexes, create_table, install
from infra.eventsourcing.projections.projection import Projection, amend
from infra.eventsourcing.projections.rebuild import Building, Busy, Switched, begin, build, finish, renew, shares
from infra.eventsourcing.projections.rebuild.bulk_reader import PAGE, read_alike
from infra.eventsourcing.projections.rebuild.sampling import differences
from infra.eventsourcing.projections.rebuild.switchover import Follower, switch
from infra.postgres.pool import Connection
from infra.settings import Settings
from projections.account_card import ACCOUNT_CARD
from projections.order_summary import FOLDS, ORDER_SUMMARY, OrderSummary
from projections.product_card import PRODUCT_CARD
from projections.registry import PROJECTIONS
from projections.shop_counts import SHOP_COUNTS
from tests.integration.read_models.test_projections import failing
from tests.support.builders import (
    ORDER_ID,
    PRODUCT_ID,
    account_registered,
    order_paid,
    order_placed,
    order_shipped,
    product_added,
)
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import Happening, expected_rows, order, product, stock, stored_rows
from tests.support.rebuilds import holding, waiting
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    async with opened(settings) as scene:
        yield scene


@asynccontextmanager
async def session(scene: Scene) -> AsyncIterator[Connection]:
    async with connected(scene.settings.database_url.get_secret_value()) as connection:
        yield connection


async def built(scene: Scene, connection: Connection, projection: Projection[Any], page: int = PAGE) -> Building:
    building = await begin(connection, scene.log, projection)
    for share in await shares(connection, building, 2):
        await build(connection, building, share, lambda _events, _positions: None, page=page)
    return building


async def rebuilt(scene: Scene, projection: Projection[Any], page: int = PAGE) -> Switched:
    async with session(scene) as connection:
        return await finish(connection, await built(scene, connection, projection, page))


async def rows_of(scene: Scene, table: str) -> list[tuple[Any, ...]]:
    """Every column of every row, the documents byte for byte."""
    async with session(scene) as connection:
        return [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY key")]


async def live(scene: Scene, projection: Projection[Any]) -> int:
    rows = await scene.database.fetch("SELECT live_generation FROM projections WHERE name = $1", projection.name)
    generation: int = rows[0][0]
    return generation


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=lambda projection: projection.name)
@pytest.mark.parametrize("seed", range(4))
async def test_a_rebuilt_read_model_equals_the_live_one_row_for_row(
    scene: Scene, projection: Projection[Any], seed: int
) -> None:
    scene.shop.random.seed(seed)
    async with scene.relay(), scene.projector():
        for _ in range(6):
            await scene.happens(60)
        await scene.kept()
    switched = await rebuilt(scene, projection)
    assert (switched.generation, switched.retired) == (2, 1)
    assert await rows_of(scene, projection.table(2)) == await rows_of(scene, projection.table(1))


async def test_rows_that_were_deleted_are_not_rebuilt(scene: Scene) -> None:
    """Accounts that are erased while others go on, each read back in between and told something after its end."""
    ids = [scene.shop.id() for _ in range(12)]
    steps: list[Callable[[UUID], Event]] = [
        lambda one: account_registered(account_id=one),
        lambda one: AccountProfileChanged(account_id=one, full_name='Ada "Möbius"\t\\', bio=None),
        lambda one: (AccountErased if one in ids[::3] else AccountDeactivated)(account_id=one),
        lambda one: AccountSessionEnded(account_id=one, session_id=one, by=EndedBy.ADMIN),
    ]
    async with scene.relay(), scene.projector():
        for step in steps:
            await scene.writer.append([Happening(one, one, "account", step(one)) for one in ids])
            await scene.kept_by(ACCOUNT_CARD)
    await rebuilt(scene, ACCOUNT_CARD)
    rows = await rows_of(scene, "rm_account_card_2")
    assert {row[0] for row in rows} == {str(one) for one in ids if one not in ids[::3]}
    assert rows == await rows_of(scene, "rm_account_card_1")


async def test_a_fold_that_looks_at_more_than_the_event_would_not_equal(scene: Scene) -> None:
    calls = iter(range(10_000))

    def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        after = ORDER_SUMMARY.project(row, event)
        return amend(after, order_no=str(next(calls))) if after else None

    impure: Projection[Any] = amend(ORDER_SUMMARY, project=project)
    async with scene.relay(), scene.projector({"order_summary": impure}):
        await scene.happens(100)
        await scene.reached("order_summary")
    await rebuilt(scene, impure)
    assert await rows_of(scene, "rm_order_summary_2") != await rows_of(scene, "rm_order_summary_1")


async def test_more_than_a_page_of_a_shard_is_folded(scene: Scene) -> None:
    await scene.happens(6_000)
    await rebuilt(scene, ORDER_SUMMARY, page=1_000)
    expected = await expected_rows(scene.writer.session, ORDER_SUMMARY)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 2) == expected


@pytest.mark.parametrize("page", [1, 2, 7])
@pytest.mark.parametrize("projection", [ORDER_SUMMARY, PRODUCT_CARD], ids=lambda projection: projection.name)
async def test_wherever_pages_end_the_rows_are_the_same(scene: Scene, projection: Projection[Any], page: int) -> None:
    await scene.happens(300)
    await rebuilt(scene, projection)
    await rebuilt(scene, projection, page=page)
    assert await rows_of(scene, projection.table(3)) == await rows_of(scene, projection.table(2)) != []


async def test_consumers_go_over_to_the_new_generation_and_on(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(200)
        await scene.kept()
        for projection in PROJECTIONS.values():
            await rebuilt(scene, projection)
        await scene.happens(200)
        await scene.kept(generation=2)


async def test_under_load_nothing_is_missing_from_the_new_generation(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(300)
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                await scene.happens(7)

        loading = asyncio.create_task(load())
        for _ in range(3):
            for projection in PROJECTIONS.values():
                await rebuilt(scene, projection)
        done.set()
        await loading
        await scene.kept(generation=4, seconds=20)


async def test_what_happens_between_building_and_switching_is_caught_up_with(scene: Scene) -> None:
    async with scene.relay(), scene.projector(), session(scene) as connection:
        await scene.happens(100)
        await scene.kept()
        building = await built(scene, connection, ORDER_SUMMARY)
        await scene.happens(500)
        await scene.kept()
        switched = await finish(connection, building)
        assert switched.caught_up == 500
        assert await rows_of(scene, "rm_order_summary_2") == await rows_of(scene, "rm_order_summary_1")


async def indexes_of(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT pg_get_indexdef(indexrelid), (SELECT conname FROM pg_constraint WHERE conindid = indexrelid) "
        "FROM pg_index WHERE indrelid = $1::regclass ORDER BY 1",
        table,
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("projection", PROJECTIONS.values(), ids=lambda projection: projection.name)
async def test_indexes_made_side_by_side_are_those_that_postgres_would_make_and_name_one_by_one(
    scene: Scene, projection: Projection[Any]
) -> None:
    async with session(scene) as one, session(scene) as other:
        table = projection.table(2)
        await create_table(one, projection, 2)
        await one.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (key)")
        for definition in projection.indexes:
            await one.execute(f"CREATE INDEX ON {table} {definition}")
        expected = await indexes_of(one, table)
        await one.execute(f"DROP TABLE {table}")
        await create_table(one, projection, 2)
        await create_indexes([one, other], projection, 2)
        assert await indexes_of(one, table) == expected
        assert len(expected) == 1 + len(projection.indexes)


async def test_an_index_that_cannot_be_made_ends_the_making_of_the_others(scene: Scene) -> None:
    impossible: Projection[Any] = amend(ORDER_SUMMARY, indexes=["(placed_at) AT ONCE"])
    async with session(scene) as one, session(scene) as other:
        await create_table(one, impossible, 2)
        async with holding(scene, "rm_order_summary_2 IN ROW EXCLUSIVE"):
            with pytest.raises(asyncpg.PostgresSyntaxError):
                await asyncio.wait_for(create_indexes([one, other], impossible, 2), 10)
            await eventually(lambda: waiting(scene, "INDEX", 0))


async def test_what_live_has_applied_by_the_switch_is_applied_in_it(scene: Scene) -> None:
    async with session(scene) as connection:
        async with scene.relay(), scene.projector():
            await scene.happens(100)
            await scene.kept()
            building = await built(scene, connection, ORDER_SUMMARY)
            await create_indexes([connection], ORDER_SUMMARY, building.generation)
            follower = Follower(connection, building)
            await follower.load()
            await scene.happens(300)
            await scene.kept()
        async with connection.transaction():
            assert await switch(connection, building, follower) == 300
        assert await rows_of(scene, "rm_order_summary_2") == await rows_of(scene, "rm_order_summary_1")


async def test_readers_never_see_a_step_back(scene: Scene) -> None:
    """The generation that the pointer names is never behind what it was before, in any shard."""
    async with scene.relay(), scene.projector(), session(scene) as connection:
        seen: dict[int, int] = {}
        done = asyncio.Event()

        async def watch() -> None:
            while not done.is_set():
                rows = await connection.fetch(
                    "SELECT c.shard, c.position FROM projections p JOIN checkpoints c "
                    "ON c.consumer = p.name AND c.generation = p.live_generation WHERE p.name = 'order_summary'"
                )
                for shard, position in rows:
                    assert position >= seen.get(shard, 0)
                    seen[shard] = position

        watching = asyncio.create_task(watch())
        for _ in range(3):
            await scene.happens(100)
            await rebuilt(scene, ORDER_SUMMARY)
        done.set()
        await watching
        assert len(seen) == scene.log.shards


async def test_until_the_switch_the_old_generation_serves(scene: Scene) -> None:
    async with scene.relay(), scene.projector(), session(scene) as connection:
        await scene.happens(100)
        await scene.kept()
        building = await built(scene, connection, ORDER_SUMMARY)
        assert await live(scene, ORDER_SUMMARY) == 1
        await scene.happens(50)
        await scene.kept()
        await finish(connection, building)
        assert await live(scene, ORDER_SUMMARY) == 2


async def test_what_an_interrupted_rebuild_left_is_cleared_by_the_next(scene: Scene) -> None:
    await scene.happens(100)
    async with session(scene) as connection:
        await built(scene, connection, ORDER_SUMMARY)
    switched = await rebuilt(scene, ORDER_SUMMARY)
    rows = await scene.database.fetch("SELECT generation, state FROM generations WHERE projection = 'order_summary'")
    assert {tuple(row) for row in rows} == {(1, "retired"), (switched.generation, "live")}


async def test_only_one_rebuild_of_a_read_model_goes_on(scene: Scene) -> None:
    async with session(scene) as one, session(scene) as other:
        await begin(one, scene.log, ORDER_SUMMARY)
        with pytest.raises(Busy):
            await begin(other, scene.log, ORDER_SUMMARY)
        await begin(other, scene.log, PRODUCT_CARD)


async def test_the_generation_before_is_kept_and_older_ones_go(scene: Scene) -> None:
    await scene.happens(50)
    for _ in range(3):
        await rebuilt(scene, ORDER_SUMMARY)
    rows = await scene.database.fetch("SELECT tablename FROM pg_tables WHERE tablename LIKE 'rm_order_summary%'")
    assert {row[0] for row in rows} == {"rm_order_summary_3", "rm_order_summary_4"}
    left = await scene.database.fetch("SELECT DISTINCT generation FROM checkpoints WHERE consumer = 'order_summary'")
    assert {row[0] for row in left} == {3, 4}


async def test_an_owner_of_the_old_generation_writes_nothing_after_the_switch(scene: Scene) -> None:
    # With a lease so long that no heartbeat can tell it in time.
    async with scene.relay(), scene.projector(lease_seconds=60.0):
        await scene.happens(100)
        await scene.kept()
        await rebuilt(scene, ORDER_SUMMARY)
        before = await rows_of(scene, "rm_order_summary_1")
        await scene.happens(200)
        await scene.kept_by(ORDER_SUMMARY, 2)
        assert await rows_of(scene, "rm_order_summary_1") == before


async def test_a_poison_event_parks_its_stream_in_the_new_generation_too(scene: Scene) -> None:
    broken = failing(OrderPaid, ValueError("broken"))
    other = scene.shop.id()
    await scene.writer.append(
        [
            order(ORDER_ID, order_placed()),
            order(other, order_placed(order_id=other)),
            order(ORDER_ID, order_paid()),
            order(ORDER_ID, order_shipped()),
        ]
    )
    switched = await rebuilt(scene, broken["order_summary"])
    assert switched.parked == 1
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 2)
    assert {key: row[1]["status"] for key, row in rows.items()} == {str(ORDER_ID): "pending", str(other): "pending"}


async def test_a_rebuild_with_the_fault_mended_leaves_nothing_parked(scene: Scene) -> None:
    async with scene.relay(), scene.projector(failing(OrderPaid, ValueError("broken"))):
        await scene.happens(200)
        await scene.reached("order_summary")
    assert await scene.database.fetch("SELECT FROM parked")
    switched = await rebuilt(scene, ORDER_SUMMARY)
    assert switched.parked == 0
    expected = await expected_rows(scene.writer.session, ORDER_SUMMARY)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 2) == expected


async def test_a_row_that_cannot_be_written_parks_the_same_event_as_live(scene: Scene) -> None:
    def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        after = ORDER_SUMMARY.project(row, event)
        unwritable: Any = object()
        return amend(after, order_no=unwritable) if after and isinstance(event.data, OrderPaid) else after

    broken: Projection[Any] = amend(ORDER_SUMMARY, project=project)
    async with scene.relay(), scene.projector({"order_summary": broken}):
        await scene.happens(200)
        await scene.reached("order_summary")
    await rebuilt(scene, broken)
    assert await rows_of(scene, "rm_order_summary_2") == await rows_of(scene, "rm_order_summary_1")
    parked: Mapping[int, set[Any]] = {1: set(), 2: set()}
    for row in await scene.database.fetch("SELECT generation, stream_id, position FROM parked"):
        parked[row[0]].add((row[1], row[2]))
    assert parked[1] == parked[2] != set()


async def test_a_fold_that_looks_at_more_than_a_rebuild_reads_is_given_whole_events(scene: Scene) -> None:
    def project(row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        assert event.metadata["actor"] == "test"
        assert not isinstance(event.data, OrderPaid) or event.data.amount.currency == "EUR"
        return ORDER_SUMMARY.project(row, event)

    await scene.happens(50)
    switched = await rebuilt(scene, amend(ORDER_SUMMARY, project=project))
    assert switched.parked == 0
    expected = await expected_rows(scene.writer.session, ORDER_SUMMARY)
    assert await stored_rows(scene.writer.session, ORDER_SUMMARY, 2) == expected != {}


class Seen(Folds[OrderSummary]):
    """The fold of orders, which counts the events that it is asked to fold, and may number them otherwise."""

    def __init__(self, number: str | None = None) -> None:
        super().__init__(OrderSummary, FOLDS.table)
        self.count = 0
        self._number = number

    def __call__(self, row: OrderSummary | None, event: Recorded) -> OrderSummary | None:
        self.count += 1
        after = super().__call__(row, event)
        return amend(after, order_no=self._number) if after and self._number else after


async def test_no_event_is_folded_where_nothing_is_amiss(scene: Scene) -> None:
    folds = Seen()
    await scene.happens(300)
    async with session(scene) as connection:
        await built(scene, connection, amend(ORDER_SUMMARY, project=folds))
    assert folds.count == 0


async def test_rows_that_the_plain_fold_would_not_make_are_noticed_and_built_plainly(scene: Scene) -> None:
    await scene.happens(100)
    await rebuilt(scene, amend(ORDER_SUMMARY, project=Seen(number="plain")))
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 2)
    assert {row[1]["order_no"] for row in rows.values()} == {"plain"}


ADDED = [each for each in PROJECTIONS.values() if each.adds]


@pytest.mark.parametrize("projection", ADDED, ids=lambda projection: projection.name)
@pytest.mark.parametrize("page", [1, 3, PAGE])
async def test_events_that_only_add_come_to_the_same_however_many_are_read_at_once(
    scene: Scene, projection: Projection[Any], page: int
) -> None:
    await scene.happens(600)
    await rebuilt(scene, projection, page=page)
    expected = await expected_rows(scene.writer.session, projection)
    assert await stored_rows(scene.writer.session, projection, 2) == expected != {}
    assert (await rebuilt(scene, projection)).parked == 0


@pytest.mark.parametrize("projection", ADDED, ids=lambda projection: projection.name)
@pytest.mark.parametrize(
    ("name", "data"), [("order.paid", b"{}"), ("order.praised", b"{}"), ("inventory.counted", b"{}")]
)
async def test_what_cannot_be_added_parks_its_stream_alone(
    scene: Scene, projection: Projection[Any], name: str, data: bytes
) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(100)
        await scene.writer.append_raw(ORDER_ID, ORDER_ID, "order", name, data)
        await scene.writer.append([order(ORDER_ID, order_paid())])
        await scene.happens(50)
        await scene.reached(projection.name)
    await rebuilt(scene, projection)
    assert await rows_of(scene, projection.table(2)) == await rows_of(scene, projection.table(1)) != []
    parked = await scene.database.fetch(
        "SELECT generation, stream_id, position FROM parked WHERE consumer = $1", projection.name
    )
    assert {tuple(row[1:]) for row in parked if row[0] == 1} == {tuple(row[1:]) for row in parked if row[0] == 2}


async def test_a_product_that_is_added_again_begins_anew(scene: Scene) -> None:
    received = stock(PRODUCT_ID, StockReceived(product_id=PRODUCT_ID, quantity=7, reason="delivery"))
    added = product(PRODUCT_ID, product_added())
    async with scene.relay(), scene.projector():
        await scene.writer.append([added, received, received, added, received])
        await scene.kept_by(PRODUCT_CARD)
    async with session(scene) as connection:
        await built(scene, connection, PRODUCT_CARD)  # and not finished: a sample would mend it
    (row,) = await rows_of(scene, "rm_product_card_2")
    assert [row] == await rows_of(scene, "rm_product_card_1")
    assert b'"stock_available":7,' in row[3]


async def test_a_fold_that_looks_at_more_than_it_says_is_noticed_and_built_plainly(scene: Scene) -> None:
    await scene.happens(300)
    careless: Projection[Any] = amend(PRODUCT_CARD, adds=dict.fromkeys(PRODUCT_CARD.adds, ("product_id",)))
    async with session(scene) as connection:
        assert await differences(connection, await built(scene, connection, careless))
        assert not await differences(connection, await built(scene, connection, PRODUCT_CARD))
    switched = await rebuilt(scene, careless)
    expected = await expected_rows(scene.writer.session, PRODUCT_CARD)
    assert await stored_rows(scene.writer.session, PRODUCT_CARD, switched.generation) == expected != {}


async def test_of_events_that_add_alike_one_is_read(scene: Scene) -> None:
    received = [
        stock(PRODUCT_ID, StockReceived(product_id=PRODUCT_ID, quantity=quantity, reason="delivery"))
        for quantity in (1, 2, 1, 1, 2)
    ]
    await scene.writer.append([product(PRODUCT_ID, product_added()), *received])
    building = await begin(scene.writer.session, scene.log, PRODUCT_CARD)
    read = await read_alike(scene.writer.session, building, building.shards, 0, 6)
    assert [(row["position"], row["last"], row["times"]) for row in read] == [(1, 1, 1), (2, 5, 3), (3, 6, 2)]


async def test_texts_come_into_their_columns_as_they_were(scene: Scene) -> None:
    hard = "a\tb\\c\nd\re\"f'g,{h} \\N NULL"
    ids = [scene.shop.id() for _ in range(2)]
    async with scene.relay(), scene.projector():
        await scene.writer.append(
            [
                product(ids[0], product_added(product_id=ids[0], name=hard, tags=(hard, "null", ""), category=None)),
                product(ids[1], product_added(product_id=ids[1], name="", tags=(), category=hard)),
                Happening(ids[0], ids[0], "account", account_registered(account_id=ids[0], username=hard)),
            ]
        )
        await scene.kept()
    for projection in (PRODUCT_CARD, ACCOUNT_CARD):
        await rebuilt(scene, projection)
        assert await rows_of(scene, projection.table(2)) == await rows_of(scene, projection.table(1)) != []


async def test_an_event_that_cannot_be_parsed_parks_its_stream_alone(scene: Scene) -> None:
    other = scene.shop.id()
    await scene.writer.append([order(each, order_placed(order_id=each)) for each in (ORDER_ID, other)])
    await scene.writer.append_raw(ORDER_ID, ORDER_ID, "order", "order.shipped", b'{"carrier": 1e400}')
    await scene.writer.append([order(other, order_shipped(order_id=other))])
    switched = await rebuilt(scene, ORDER_SUMMARY)
    assert switched.parked == 1
    rows = await stored_rows(scene.writer.session, ORDER_SUMMARY, 2)
    assert {key: row[1]["status"] for key, row in rows.items()} == {str(ORDER_ID): "pending", str(other): "shipped"}


async def test_what_postgres_refuses_is_parked_in_a_rebuild_as_it_is_live(scene: Scene) -> None:
    too_much = StockReceived(product_id=PRODUCT_ID, quantity=2**62, reason="delivery")
    async with scene.relay(), scene.projector():
        await scene.writer.append(
            [product(PRODUCT_ID, product_added()), *[stock(PRODUCT_ID, too_much) for _ in range(3)]]
        )
        await scene.happens(100)
        await scene.reached("product_card")
    switched = await rebuilt(scene, PRODUCT_CARD)
    assert switched.parked == 1
    assert await rows_of(scene, "rm_product_card_2") == await rows_of(scene, "rm_product_card_1")
    parked = await scene.database.fetch("SELECT stream_id, position, event_type FROM parked ORDER BY generation")
    assert parked[0] == parked[1]


async def test_what_postgres_refuses_while_a_rebuild_catches_up_is_parked_too(scene: Scene) -> None:
    too_much = StockReceived(product_id=PRODUCT_ID, quantity=2**62, reason="delivery")
    async with session(scene) as connection:
        building = await built(scene, connection, PRODUCT_CARD)
        await scene.writer.append(
            [product(PRODUCT_ID, product_added()), *[stock(PRODUCT_ID, too_much) for _ in range(3)]]
        )
        await scene.happens(50)
        assert (await finish(connection, building)).parked == 1


async def test_a_number_of_a_generation_is_not_given_again_after_it_was_dropped(scene: Scene) -> None:
    async with session(scene) as connection:
        given = (await begin(connection, scene.log, ORDER_SUMMARY)).generation
    async with session(scene) as connection:
        assert (await begin(connection, scene.log, ORDER_SUMMARY)).generation > given


async def test_a_read_model_that_is_new_to_a_log_is_built_before_anybody_is_served_by_it(scene: Scene) -> None:
    await scene.happens(50)
    async with session(scene) as connection:
        await connection.execute("DROP TABLE rm_shop_counts_1")
        for table, column in (("generations", "projection"), ("checkpoints", "consumer"), ("projections", "name")):
            await connection.execute(f"DELETE FROM {table} WHERE {column} = 'shop_counts'")
        await install(connection, PROJECTIONS)
        async with scene.projector({"shop_counts": SHOP_COUNTS}) as host:
            await host.membership.beat()
            assert not host.leases
        assert await renew(connection, scene.settings.database_url, scene.log, PROJECTIONS) == ["shop_counts"]
    assert await rows_of(scene, "rm_shop_counts_2") != []


async def test_a_server_in_another_time_zone_makes_the_same_documents(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(100)
        await scene.kept()
    name = scene.settings.database_url.get_secret_value().rpartition("/")[2]
    await scene.writer.session.execute(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Kolkata'")
    await rebuilt(scene, ORDER_SUMMARY)
    assert await rows_of(scene, "rm_order_summary_2") == await rows_of(scene, "rm_order_summary_1")


async def test_the_command_rebuilds_with_a_process_for_each_processor(scene: Scene) -> None:
    async with scene.relay(), scene.projector():
        await scene.happens(500)
        await scene.kept()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("weir")),
            "replay",
            "order_summary",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "DATABASE_URL": scene.settings.database_url.get_secret_value(),
                "REDIS_URL": scene.settings.redis_url.get_secret_value(),
            },
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, said.decode()
        assert "order_summary is served from generation 2 now" in said.decode()

        async def adopted() -> bool:
            rows = await scene.database.fetch("SELECT FROM checkpoints WHERE generation = 2 AND owner IS NULL")
            return not rows

        await eventually(adopted)
        await scene.happens(100)
        await scene.kept_by(ORDER_SUMMARY, 2)


def test_the_command_knows_the_read_models_by_name() -> None:
    app = typer.Typer()
    register(app)
    said = CliRunner().invoke(app, ["no_such_model"])
    assert said.exit_code != 0
    assert "order_summary" in said.output
