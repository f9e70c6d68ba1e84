"""Lists within bounds: whatever is asked for and typed, a page looks at a bounded part, and the pages are the list."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, Final

import asyncpg
import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.errors import Problem
from api.queries.accounts import AccountFilters
from api.queries.accounts import query_of as accounts_of
from api.queries.lists.page_reader import Pages
from api.queries.lists.query import Condition, Query
from api.queries.lists.statements import CANDIDATES, FEW, NEARLY, STRETCH
from api.queries.products import LONGEST_SEARCH, ProductFilters, query_of
from infra.configs import cache_of, pool_of
from infra.errors import NotYetVisible
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.projections.fold import Kept, written
from infra.eventsourcing.projections.generations import FIRST
from infra.eventsourcing.projections.row_table import Table
from infra.eventsourcing.read_cache import Reads
from infra.eventsourcing.read_cache.visibility import ProjectionShard
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.account_card import ACCOUNT_CARD
from projections.product_card import PRODUCT_CARD, ListedProduct
from tests.support.read_rows import account, entity, lay_down, product

pytestmark = pytest.mark.anyio

SENT: Final = sa.bindparam("sent", type_=sa.Text)

MANY: Final = 3 * STRETCH
"""More than the index may find, and more than one stretch of the order."""

SORTS: Final = {
    "name": lambda row: (row.name, str(row.id)),
    "price": lambda row: (row.price.amount, str(row.id)),
    "newest": lambda row: (row.created_at, str(row.id)),
    "popular": lambda row: (row.sold, str(row.id)),
}


def goods(number: int) -> ListedProduct:
    """A product of some sort: lamps are common, the blue ones are those whose names come last, one is unique."""
    common, last = "lamp" if number % 2 else "chair", "blue" if number > MANY - 40 else "red"
    return product(
        number,
        price=f"{1 + number * 7 % 5000}.00",
        name=f"Thing {number:05} {common} {last}",
        description="unicorn" if number == MANY // 2 else "",
        category="rare" if number % 500 == 0 else "garden",
        tags=("new",) if number % 3 == 0 else (),
        stock_available=0 if number > MANY - 30 else 5,
        sold=number % 7,
    )


ALL: Final = {number: goods(number) for number in range(1, MANY + 1)}


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    # A single session, so that what it has counted is what all of us have fetched.
    database = Database(pool_of(settings.model_copy(update={"pool_size": 1})))
    await lay_down(database)
    yield database
    await database.close()


@pytest.fixture
async def log(database: Database) -> EventLog:
    async with database.acquire() as session:
        return await identify(session, CODEC)


@pytest.fixture
async def pages(database: Database, settings: Settings, log: EventLog) -> AsyncIterator[Pages]:
    async with Reads(cache_of(settings), database, CurrentLog.behind(database, log)).running() as reads:
        assert await reads.watch.ready(5)
        yield Pages(database, reads, at_once=1)


@pytest.fixture
async def stocked(database: Database) -> None:
    async with database.session() as session:
        rows = [written(PRODUCT_CARD, str(row.id), Kept(1, row)) for row in ALL.values()]
        await Table(PRODUCT_CARD, FIRST).copy(session, rows)


def asked(**filters: Any) -> ProductFilters:
    return ProductFilters.model_validate(filters)


async def walked(pages: Pages, log: EventLog, limit: int = 100, **filters: Any) -> list[str]:
    """The ids of the whole list, page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = query_of(log, asked(limit=limit, cursor=cursor, **filters))
        documents, cursor = await pages.fetch(query, limit, {}, 0)
        assert len(documents) <= limit
        found += [orjson.loads(document)["id"] for document in documents]
        if cursor is None:
            return found


COMBINATIONS: Final[list[tuple[dict[str, Any], Any]]] = [
    ({}, lambda _: True),
    ({"category": "rare"}, lambda row: row.category == "rare"),
    ({"category": "nowhere"}, lambda _: False),
    ({"tag": "new"}, lambda row: "new" in row.tags),
    ({"in_stock": False}, lambda row: not row.stock_available),
    ({"max_price": Decimal(3)}, lambda row: row.price.amount <= 3),
    ({"min_price": Decimal(3), "in_stock": False}, lambda row: row.price.amount >= 3 and not row.stock_available),
    ({"q": "unicorn"}, lambda row: "unicorn" in row.description),
    ({"q": "lamp -red"}, lambda row: "lamp" in row.name and "blue" in row.name),
    ({"q": "lamp or chair"}, lambda _: True),
    ({"q": "lamp", "in_stock": False}, lambda row: "lamp" in row.name and not row.stock_available),
    ({"q": "lamp", "category": "rare", "tag": "new"}, lambda _: False),
]


@pytest.mark.usefixtures("stocked")
@pytest.mark.parametrize("sort", list(SORTS))
async def test_the_pages_of_a_filtered_list_are_the_list(pages: Pages, log: EventLog, sort: str) -> None:
    for filters, passes in COMBINATIONS:
        expected = sorted(filter(passes, ALL.values()), key=SORTS[sort], reverse=sort in ("newest", "popular"))
        assert await walked(pages, log, sort=sort, **filters) == [str(row.id) for row in expected], filters


@pytest.mark.usefixtures("stocked")
async def test_what_is_found_by_an_index_is_on_the_first_page_however_far_it_stands(
    pages: Pages, log: EventLog
) -> None:
    assert MANY // 2 > FEW
    query = query_of(log, asked(q="unicorn"))
    documents, cursor = await pages.fetch(query, 20, {}, 0)
    assert [orjson.loads(document)["id"] for document in documents] == [str(entity(MANY // 2))]
    assert cursor is None


@pytest.mark.usefixtures("stocked")
async def test_of_what_is_only_spelled_nearly_so_a_bounded_number_is_listed(pages: Pages, log: EventLog) -> None:
    found = await walked(pages, log, q="thinng")
    assert len(found) == NEARLY
    assert found == sorted(found)


@pytest.mark.usefixtures("stocked")
async def test_no_page_looks_at_more_than_a_bounded_part_of_the_table(
    pages: Pages, database: Database, log: EventLog
) -> None:
    """Counted by Postgres itself, on a table without statistics: the rows that it has fetched."""
    await database.execute("ALTER TABLE rm_product_card_1 SET (autovacuum_enabled = off)")
    for sort in (*SORTS, "-price"):
        for filters, _ in COMBINATIONS:
            before = await fetched(database)
            await pages.fetch(query_of(log, asked(sort=sort, **filters)), 20, {}, 0)
            assert await fetched(database) - before <= 2 * (FEW + CANDIDATES + STRETCH) + 100, (sort, filters)


async def fetched(database: Database) -> int:
    async with database.session() as session:
        await session.execute("SELECT pg_stat_force_next_flush()")
        rows = await session.fetchval(
            "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables "
            "WHERE relname = 'rm_product_card_1'"
        )
    return int(rows)


PIECES: Final = st.sampled_from(
    ["-", '"', "or", " ", "  ", "a", "kettle", "'", "\\", ":*", "&", "|", "!", "(", ")", "<->"]
)
TYPED: Final = st.one_of(
    # A few signs again and again: what a parser nests, it nests as deep as the text is long.
    st.lists(PIECES, min_size=1, max_size=3).map(lambda pieces: ("".join(pieces) * LONGEST_SEARCH)[:LONGEST_SEARCH]),
    st.lists(PIECES, min_size=1, max_size=LONGEST_SEARCH).map("".join).map(lambda text: text[:LONGEST_SEARCH]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=LONGEST_SEARCH),
)


@given(typed=TYPED)
@example(typed="-" * 33)
@example(typed="-" * LONGEST_SEARCH)
@example(typed="- " * (LONGEST_SEARCH // 2))
@example(typed="-!" * (LONGEST_SEARCH // 2))
@example(typed="-(" * (LONGEST_SEARCH // 2))
@example(typed="-&-|-)" * (LONGEST_SEARCH // 6))
@example(typed='-""' * (LONGEST_SEARCH // 3))
@example(typed='-"' * (LONGEST_SEARCH // 2))
@example(typed='"' * LONGEST_SEARCH)
@example(typed="a " * (LONGEST_SEARCH // 2))
@example(typed="or " * (LONGEST_SEARCH // 3))
@example(typed="-a or " * (LONGEST_SEARCH // 6))
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_typed_is_searched_for(pages: Pages, log: EventLog, typed: str) -> None:
    await pages.fetch(query_of(log, asked(q=typed)), 20, {}, 0)


@pytest.mark.parametrize(
    ("condition", "typed"),
    [
        (sa.func.repeat(SENT, 1_000_000_000).is_(None), "kettle"),  # 54000: a limit
        (sa.cast(SENT, sa.Integer) == 1, "kettle"),  # 22P02: no such value
    ],
)
async def test_what_postgres_refuses_of_a_search_is_the_clients_fault(
    pages: Pages, database: Database, log: EventLog, condition: sa.ColumnElement[bool], typed: str
) -> None:
    await sell_one(database)
    query = query_of(log, asked())
    query.where(Condition(condition), sent=typed)
    with pytest.raises(Problem) as refused:
        await pages.fetch(query, 20, {}, 0)
    assert refused.value.code == "invalid"


async def test_a_statement_that_is_wrong_is_our_own_fault(pages: Pages, log: EventLog) -> None:
    query = query_of(log, asked())
    query.where(Condition(sa.func.to_tsquery("simple", SENT).is_(None)), sent="a &")
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await pages.fetch(query, 20, {}, 0)


async def sell_one(database: Database) -> None:
    async with database.session() as session:
        await Table(PRODUCT_CARD, FIRST).copy(session, [written(PRODUCT_CARD, "1", Kept(1, goods(1)))])


async def test_a_list_that_takes_too_long_is_ended_and_says_so(pages: Pages, database: Database, log: EventLog) -> None:
    await sell_one(database)
    query = query_of(log, asked())
    query.where(Condition(sa.cast(sa.func.pg_sleep(60), sa.Text).is_not(None)))
    with pytest.raises(Problem) as refused:
        await pages.fetch(query, 20, {}, 0)
    assert (refused.value.code, refused.value.kind.status) == ("unavailable", 503)
    assert "too long" in refused.value.detail
    with pytest.raises(asyncpg.PostgresError):
        await database.execute("SELECT 1 / 0")  # the pool goes on: the connection was not given up in a transaction


async def test_accounts_are_found_by_any_part_of_their_names(pages: Pages, database: Database, log: EventLog) -> None:
    people = [account(number) for number in range(1, FEW + 100)]
    odd = account(FEW + 100, email=r"a_b%c\d@example.org", username="odd")
    async with database.session() as session:
        rows = [written(ACCOUNT_CARD, str(row.id), Kept(1, row)) for row in [*people, odd]]
        await Table(ACCOUNT_CARD, FIRST).copy(session, rows)

    async def found(part: str) -> list[str]:
        documents, cursor = await pages.fetch(_accounts(log, part), 100, {}, 0)
        assert cursor is None
        return [orjson.loads(document)["id"] for document in documents]

    assert await found("PERSON001") == [str(entity(1))]
    for part in ("_b%", "b%c", r"c\d", "%", "\\", "A_B"):
        assert await found(part) == [str(odd.id)], part
    assert await found("nobody%") == []


def _accounts(log: EventLog, part: str) -> Query:
    return accounts_of(log, AccountFilters.model_validate({"q": part}))


async def test_a_list_goes_by_the_checkpoints_that_it_reads_and_not_by_what_was_told(
    database: Database, settings: Settings, log: EventLog
) -> None:
    """What a crash of Postgres leaves: the process was told of a position that the read model has lost again."""
    async with Reads(cache_of(settings), database, CurrentLog.behind(database, log)).running() as reads:
        assert await reads.watch.ready(5)
        pages = Pages(database, reads, at_once=1)
        await database.execute("UPDATE log_head SET position = 7")
        reads.visibility.told(ProjectionShard("product_card", FIRST, 0), 7)
        for sort in ("name", "popular"):
            with pytest.raises(NotYetVisible):
                await pages.fetch(query_of(log, asked(sort=sort)), 20, {0: 7}, 0.2)
        with pytest.raises(NotYetVisible):
            await pages.over(["product_card"], lambda _: ("SELECT 1",), needs={0: 7}, wait=0.2)
        waiting = asyncio.create_task(pages.fetch(query_of(log, asked(sort="popular")), 20, {0: 7}, 5))
        await database.execute("UPDATE checkpoints SET position = 7 WHERE consumer = 'product_card'")
        assert await waiting == ([], None)
