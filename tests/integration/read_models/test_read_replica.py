"""Reads of a replica: never older than what a token asks for or a list was begun at, never kept, never an error."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr

from api.queries.lists import cursors
from api.queries.lists.page_reader import Pages
from api.queries.lists.query import Query
from api.queries.products import ON_SALE, SORTS
from api.queries.read_models import PRODUCTS
from infra.configs import cache_of, pool_of, replica_pool_of
from infra.errors import Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.projections.generations import FIRST, install
from infra.eventsourcing.read_cache import ReadReplica, Reads
from infra.eventsourcing.read_cache.read_replica import (
    ANSWER_SECONDS,
    LOOK_SECONDS,
    MOST_BEHIND,
    Outcome,
    PassedOver,
    Trail,
)
from infra.eventsourcing.read_cache.visibility import ProjectionShard
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.integration.read_models.test_queries_pages import Catalogue, change, numbers, values
from tests.support.failover import Pair, pair
from tests.support.proxy import proxy_before
from tests.support.read_models import NAME, SHARD, present, world
from tests.support.replicas import Replicated, replicated
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

MANY: Final = 50
PATIENCE: Final = 30.0
"""Seconds, on a machine that has much else to do."""
BOUND: Final = 8.0
"""Seconds. The driver alone would wait for ten."""


@dataclass
class Clock:
    """Stands still until it is told to go on: how long ago something was must not depend on how busy the machine is."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
async def two(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with pair(cluster, tmp_path_factory.mktemp("replica"), door=False) as servers:
        yield servers


@pytest.fixture
async def database(two: Pair) -> AsyncIterator[Replicated]:
    async with replicated(two) as made:
        yield made


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that reads from a replica, and whose clock stands still once it knows how far the primary was."""

    reads: Reads
    replica: ReadReplica
    database: Database
    current: CurrentLog
    clock: Clock

    def outcomes(self) -> dict[str, int]:
        return {str(outcome): count for outcome, count in self.replica.outcomes.items() if count}


async def install_at(url: str) -> None:
    """The read models, which are empty, and served."""
    async with connected(url) as connection:
        await install(connection, PROJECTIONS)


@asynccontextmanager
async def process(
    settings: Settings, primary: str, copy: str, model: str | None = None, *, answer_seconds: float = PATIENCE
) -> AsyncIterator[Process]:
    told = {"database_url": SecretStr(primary), "database_read_url": SecretStr(copy), "pool_size": 4}
    settings = settings.model_copy(update=told)
    config = replica_pool_of(settings)
    assert config is not None
    async with AsyncExitStack() as stack:
        database, other = Database(pool_of(settings)), Database(config)
        stack.push_async_callback(database.close)
        stack.push_async_callback(other.close)
        async with database.session() as session:
            log = await identify(session, CODEC)
        current, clock = CurrentLog.behind(database, log), Clock()
        replica = ReadReplica(other, current, at_once=4, clock=clock, answer_seconds=answer_seconds)
        reads = Reads(cache_of(settings), database, current, replica)
        if model is not None:
            reads.model(model, present)
        await stack.enter_async_context(reads.running())
        assert await reads.watch.ready(PATIENCE)
        clock.now = 10 * MOST_BEHIND
        yield Process(reads=reads, replica=replica, database=database, current=current, clock=clock)


class Copied(Catalogue):
    """The list under test, of which each page comes from the server that the test says."""

    def __init__(self, running: Process, replicated: Replicated, log: EventLog) -> None:
        own = Pages(running.database, running.reads, at_once=1)
        super().__init__(running.database, own, log)
        self.process, self.servers = running, replicated

    async def happen(self, what: str, number: int, value: int) -> None:
        await super().happen(what, number, value)
        await self._database.execute(
            "UPDATE checkpoints SET position = $1 WHERE consumer = 'product_card'", self._position
        )

    async def begin(self, added: dict[int, int]) -> None:
        await self.servers.let_go()
        await super().begin(added)
        await self.servers.caught_up()

    def told(self) -> None:
        """Its consumer has told of all that has happened."""
        for shard in range(4):
            self.process.reads.visibility.told(ProjectionShard(PRODUCTS, FIRST, shard), self._position)

    async def page_of(
        self, sort: str, limit: int, cursor: str | None, *, primary: bool = False, token: bool = False
    ) -> tuple[list[Any], str | None]:
        query = Query(projection=PRODUCTS, sort=SORTS[sort], list_id=cursors.list_id(self._log, "x", {"sort": sort}))
        query.within(ON_SALE)
        query.after(cursor)
        needs = {0: self._position} if token else {}
        reads, replica = self.process.reads, self.process.reads.replica
        try:
            reads.replica = None if primary else replica
            documents, following = await self._pages.fetch(query, limit, needs, 5 if token else 0)
        finally:
            reads.replica = replica
        return [orjson.loads(document) for document in documents], following


@pytest.fixture
async def catalogue(settings: Settings, database: Replicated) -> AsyncIterator[Copied]:
    await install_at(database.url)
    await database.caught_up()
    async with process(settings, database.url, database.copy) as running:
        yield Copied(running, database, running.current.log)


# Lists


@given(
    rows=st.dictionaries(numbers, values, max_size=12),
    turns=st.lists(
        st.tuples(st.booleans(), st.sampled_from(["hold", "let go", ""]), st.lists(change, max_size=5)), max_size=10
    ),
    sort=st.sampled_from(sorted(SORTS)),
    limit=st.integers(1, 5),
)
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pages_add_up_whichever_server_each_comes_from_and_however_far_behind_it_is(
    catalogue: Copied,
    rows: dict[int, int],
    turns: list[tuple[bool, str, list[tuple[str, int, int]]]],
    sort: str,
    limit: int,
) -> None:
    await catalogue.begin(rows)
    seen: list[Any] = []
    cursor: str | None = None
    for primary, replication, happening in [*turns, *[(False, "", [])] * MANY]:
        match replication:
            case "hold":
                await catalogue.servers.hold()
            case "let go":
                await catalogue.servers.let_go()
        for what, number, value in happening:
            await catalogue.happen(what, number, value)
        page, cursor = await catalogue.page_of(sort, limit, cursor, primary=primary)
        seen += page
        if cursor is None:
            break
    assert cursor is None
    still = set(rows) - (set() if SORTS[sort].keeps else catalogue.resold)
    counted = Counter(int(item["sku"].split("-")[1]) for item in seen)
    counted = Counter({n: times for n, times in counted.items() if SORTS[sort].keeps or n not in catalogue.resold})
    assert not {number: times for number, times in counted.items() if times > 1}
    assert still & catalogue.on_sale <= set(counted)


@pytest.mark.parametrize("sort", sorted(SORTS))
async def test_without_a_token_a_list_comes_from_the_replica_and_with_one_it_has_the_write(
    catalogue: Copied, sort: str
) -> None:
    await catalogue.begin({1: 1})
    await catalogue.servers.hold()
    await catalogue.happen("add", 2, 2)
    catalogue.told()
    old, _ = await catalogue.page_of(sort, 5, None)
    new, _ = await catalogue.page_of(sort, 5, None, token=True)
    assert {item["sku"] for item in old} == {"SKU-1"}
    assert {item["sku"] for item in new} == {"SKU-1", "SKU-2"}
    assert catalogue.process.outcomes() == {"served": 1, "behind": 1}
    await catalogue.servers.let_go()
    new, _ = await catalogue.page_of(sort, 5, None, token=True)
    assert {item["sku"] for item in new} == {"SKU-1", "SKU-2"}
    assert catalogue.process.outcomes() == {"served": 2, "behind": 1}


async def test_a_list_that_was_begun_at_the_primary_goes_on_there_until_the_replica_has_come_so_far(
    catalogue: Copied,
) -> None:
    await catalogue.begin({1: 1, 2: 2, 3: 3})
    await catalogue.servers.hold()
    await catalogue.happen("reprice", 1, 4)
    (first,), cursor = await catalogue.page_of("price", 1, None, primary=True)
    (second,), cursor = await catalogue.page_of("price", 1, cursor)
    await catalogue.servers.let_go()
    (third,), cursor = await catalogue.page_of("price", 1, cursor)
    assert [each["sku"] for each in (first, second, third)] == ["SKU-2", "SKU-3", "SKU-1"]
    assert catalogue.process.outcomes() == {"behind": 1, "served": 1}


async def test_a_replica_that_is_far_behind_is_passed_over(catalogue: Copied) -> None:
    await catalogue.begin({1: 1})
    await catalogue.servers.hold()
    await catalogue.happen("add", 2, 2)
    process = catalogue.process
    for _ in range(2):  # the primary is seen to be further, and then that is long ago
        process.clock.now += LOOK_SECONDS
        await process.reads.watch.look(process.reads.channel)
    process.clock.now += MOST_BEHIND
    page, _ = await catalogue.page_of("price", 5, None)
    assert len(page) == 2
    assert process.outcomes() == {"behind": 1}
    await process.replica.look()
    report = dict(await process.replica.report())
    assert report.pop("lag_seconds") >= 2 * LOOK_SECONDS
    assert report == {"status": "degraded", "reads": "behind"}


async def test_a_generation_that_the_replica_does_not_serve_yet_is_read_at_the_primary(catalogue: Copied) -> None:
    await catalogue.begin({1: 1})
    process = catalogue.process
    await process.database.execute("CREATE TABLE rm_product_card_2 (LIKE rm_product_card_1 INCLUDING ALL)")
    await catalogue.servers.caught_up()
    await catalogue.servers.hold()
    await process.database.execute("DROP TABLE rm_product_card_2")
    await process.database.execute("ALTER TABLE rm_product_card_1 RENAME TO rm_product_card_2")
    await process.database.execute("UPDATE projections SET live_generation = 2 WHERE name = 'product_card'")
    await process.reads.watch.look(process.reads.channel)
    page, _ = await catalogue.page_of("price", 5, None)
    assert (len(page), process.outcomes()) == (1, {"behind": 1})


async def test_several_read_models_in_one_statement_are_of_one_state(catalogue: Copied) -> None:
    await catalogue.begin({1: 1})
    await catalogue.servers.hold()
    await catalogue.happen("add", 2, 2)
    catalogue.told()

    async def counted(*, token: bool) -> int:
        needs = {0: catalogue._position} if token else {}
        count = ("SELECT count(*) FROM rm_product_card_1",)
        rows = await catalogue._pages.over([PRODUCTS], lambda _: count, needs=needs, wait=5)
        return int(rows[0][0])

    assert [await counted(token=False), await counted(token=True)] == [1, 2]


# Servers that are no replica of ours


async def test_a_replica_of_another_history_is_passed_over(catalogue: Copied) -> None:
    await catalogue.begin({1: 1})
    await catalogue.servers.hold()
    process = catalogue.process
    await process.database.execute("UPDATE log_head SET history = gen_random_uuid()")
    await process.reads.watch.look(process.reads.channel)
    process.clock.now += 2 * MOST_BEHIND
    await process.reads.watch.look(process.reads.channel)
    process.clock.now += 2 * MOST_BEHIND
    page, _ = await catalogue.page_of("price", 5, None)
    assert (len(page), process.outcomes()) == (1, {"history": 1})
    await catalogue.servers.let_go()
    await catalogue.page_of("price", 5, None)
    assert process.outcomes() == {"history": 1, "served": 1}


async def test_a_replica_that_was_promoted_beside_the_primary_is_one_of_another_history(
    cluster: Path, tmp_path: Path, settings: Settings
) -> None:
    async with (
        pair(cluster, tmp_path, door=False) as two,
        process(settings, two.primary.url, two.standby.url) as running,
    ):
        await install_at(two.primary.url)
        await running.reads.watch.look(running.reads.channel)
        running.clock.now += 2 * MOST_BEHIND

        async def reads() -> bool:
            await running.replica.look()
            return running.replica.standing is Outcome.SERVED

        await eventually(reads, PATIENCE)
        async with connected(two.standby.admin_url) as connection:
            assert await connection.fetchval("SELECT pg_promote(true, 10)")
        with pytest.raises(PassedOver) as passed:
            async with running.replica.snapshot({}):
                pass
    assert passed.value.outcome is Outcome.HISTORY


async def test_a_replica_that_is_away_or_hangs_is_no_error_and_is_left_alone(
    settings: Settings, database: Replicated
) -> None:
    async with (
        proxy_before(database.copy) as line,
        process(settings, database.url, line.url, answer_seconds=ANSWER_SECONDS) as running,
    ):
        line.stall()
        for outcome in ({"away": 1}, {"away": 2}):
            with pytest.raises(PassedOver):
                async with running.replica.snapshot({}):
                    pass
            assert running.outcomes() == outcome


async def test_a_replica_that_falls_silent_in_the_middle_of_a_page_keeps_nobody_waiting(
    settings: Settings, database: Replicated
) -> None:
    await install_at(database.url)
    await database.caught_up()
    async with (
        proxy_before(database.copy) as line,
        process(settings, database.url, line.url, answer_seconds=ANSWER_SECONDS) as running,
    ):

        async def reads() -> bool:
            await running.replica.look()
            return running.replica.standing is Outcome.SERVED

        await eventually(reads, PATIENCE)

        async def page() -> None:
            async with running.replica.snapshot({}) as session:
                line.stall()
                await session.fetch("SELECT 1")

        async with asyncio.timeout(BOUND):
            with pytest.raises(PassedOver) as passed:
                await page()
        assert passed.value.outcome is Outcome.AWAY


# Documents


async def test_while_the_primary_is_away_a_document_comes_from_the_replica_and_is_not_kept(
    settings: Settings, database: Replicated
) -> None:
    settings = settings.model_copy(update={"database_url": SecretStr(database.url)})
    async with (
        world(settings) as shop,
        proxy_before(database.url) as line,
        process(settings, line.url, database.copy, NAME) as running,
    ):
        await shop.consumer.write("a", 1, '"one"')
        await database.caught_up()
        await running.reads.see(NAME, {SHARD: 1}, PATIENCE)
        await line.close()
        things = running.reads.documents[NAME]
        assert [await things.get("a") for _ in range(2)] == ['"one"', '"one"']
        assert things.now("a") is None
        await line.open()
        async with shop.reader() as another:
            assert await another.get("a") == '"one"'
            assert another.things.tally.remote == 0


async def test_nobody_who_was_told_more_is_shown_what_the_replica_has(settings: Settings, database: Replicated) -> None:
    settings = settings.model_copy(update={"database_url": SecretStr(database.url)})
    async with (
        world(settings) as shop,
        proxy_before(database.url) as line,
        process(settings, line.url, database.copy, NAME) as running,
    ):
        await shop.consumer.write("a", 1, '"one"')
        await database.caught_up()
        await database.hold()
        await shop.consumer.write("a", 2, '"two"')
        await running.reads.see(NAME, {SHARD: 2}, PATIENCE)
        await line.close()
        with pytest.raises(Unavailable):
            await running.reads.documents[NAME].get("a")
        await line.open()


# How far behind


def test_how_far_behind_a_replica_is_counts_from_when_the_primary_was_where_it_is() -> None:
    clock = Clock()
    trail = Trail(clock)
    dues = [trail.due]
    for clock.now, flushed in ((0.0, 100), (1.0, 200), (2.0, 300)):
        trail.note(flushed)
    clock.now = 2.5
    dues.append(trail.due)
    assert [trail.lag(replayed) for replayed in (300, 299, 200, 50)] == [0.0, 0.5, 0.5, 2.5]
    trail.forget()
    assert [*dues, trail.due] == [None, 200, None]
