"""The law of pages: whoever walks a list while it changes sees everything that stays where it is, once."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.queries import cursors
from api.queries.pages import Pages, Query, page_of
from api.queries.products import SORTS
from api.queries.side import PRODUCTS
from infra.cache import Reads
from infra.database import Database
from infra.log import Log, identify
from infra.settings import Settings
from tests.read_rows import lay_down, product, put, remove

pytestmark = pytest.mark.anyio

numbers = st.integers(0, 30)
prices = st.sampled_from(["1.00", "2.00", "2.50"])  # few, so that many rows tie
change = st.one_of(
    st.tuples(st.just("put"), numbers, prices),
    st.tuples(st.just("remove"), numbers, prices),
    st.tuples(st.just("touch"), numbers, prices),
)


class Catalogue:
    """The list under test, and what happens to its rows."""

    def __init__(self, database: Database, pages: Pages, log: Log) -> None:
        self._database = database
        self._pages = pages
        self._log = log
        self.rows: dict[int, str] = {}

    async def begin(self, rows: dict[int, str]) -> None:
        await self._database.execute("TRUNCATE rm_product_card_1")
        await put(self._database, *[product(n, price=price) for n, price in rows.items()])
        self.rows = dict(rows)

    async def happen(self, what: str, number: int, price: str) -> None:
        """``touch`` changes a row and leaves it where it is in the list."""
        if what == "remove":
            await remove(self._database, number)
            self.rows.pop(number, None)
        elif what == "put":
            await put(self._database, product(number, price=price))
            self.rows[number] = price
        elif number in self.rows:
            await put(self._database, product(number, price=self.rows[number], stock_available=0))

    async def page(self, sort: str, limit: int, cursor: str | None) -> tuple[list[Any], str | None]:
        query = Query(projection=PRODUCTS, sort=SORTS[sort], list_id=cursors.list_id(self._log, "x", {"sort": sort}))
        query.after(cursor)
        documents, following = page_of(query, await self._pages.fetch(query, limit, {}, 0), limit)
        return [orjson.loads(document) for document in documents], following


@pytest.fixture
async def catalogue(settings: Settings) -> AsyncIterator[Catalogue]:
    database = Database(settings)
    await lay_down(database)
    async with database.acquire() as session:
        log = await identify(session)
    async with Reads(settings, database, log).running() as reads:
        assert await reads.watch.ready(5)
        yield Catalogue(database, Pages(database, reads, at_once=1), log)
    await database.close()


@given(
    rows=st.dictionaries(numbers, prices, max_size=20),
    changes=st.lists(st.lists(change, max_size=3), max_size=10),
    sort=st.sampled_from(sorted(SORTS)),
    limit=st.integers(1, 7),
)
@hypothesis_settings(
    max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_pages_add_up_while_rows_change(
    catalogue: Catalogue, rows: dict[int, str], changes: list[list[tuple[str, int, str]]], sort: str, limit: int
) -> None:
    await catalogue.begin(rows)
    moved: set[int] = set()
    seen: list[Any] = []
    cursor: str | None = None
    for happening in [*changes, *[[]] * 60]:
        page, cursor = await catalogue.page(sort, limit, cursor)
        assert len(page) <= limit
        seen += page
        if cursor is None:
            break
        assert len(page) == limit
        for what, number, price in happening:
            await catalogue.happen(what, number, price)
            if what != "touch":
                moved.add(number)
    assert cursor is None
    counted = Counter(int(item["name"].split()[1]) for item in seen)
    staying = set(rows) - moved
    assert {number: counted[number] for number in staying} == dict.fromkeys(staying, 1)
    assert set(counted) <= staying | moved
