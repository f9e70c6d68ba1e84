"""The law of pages: whoever walks a list sees everything that is there all the while, once, and nothing twice: however
much is renamed, repriced, taken off sale or added on the way. By sales it holds for what is not sold meanwhile."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.queries.lists import cursors
from api.queries.lists.page_reader import Pages
from api.queries.lists.query import Query
from api.queries.products import ON_SALE, SORTS
from api.queries.read_models import PRODUCTS
from domain.catalogue import ProductAdded, ProductDescribed, ProductDiscontinued, ProductRepriced
from domain.inventory import StockReceived, StockReturned, StockSold
from domain.kernel.messages import Event, Recorded
from domain.money import Money
from infra.configs import cache_of, pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.projections.fold import Kept, written
from infra.eventsourcing.projections.generations import FIRST
from infra.eventsourcing.projections.row_table import Table
from infra.eventsourcing.read_cache import Reads
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.product_card import PRODUCT_CARD, ListedProduct
from tests.support.read_rows import NOON, entity, lay_down

pytestmark = pytest.mark.anyio

# Few of each, so that many rows tie and most changes pass a cursor.
numbers = st.integers(0, 20)
values = st.integers(1, 4)
happenings = st.sampled_from(["add", "reprice", "rename", "sell", "return", "touch", "discontinue"])
change = st.tuples(happenings, numbers, values)


def event_of(what: str, number: int, value: int) -> Event:
    product_id = entity(number)
    price = Money(amount=Decimal(value), currency="EUR")
    match what:
        case "reprice":
            return ProductRepriced(product_id=product_id, price=price)
        case "rename":
            return ProductDescribed(
                product_id=product_id,
                name=f"Name {value}",
                description="",
                category=None,
                tags=(),
                tax_rate=Decimal(0),
            )
        case "sell":
            return StockSold(product_id=product_id, order_id=product_id, quantity=value)
        case "return":
            return StockReturned(product_id=product_id, order_id=product_id, quantity=value)
        case "touch":
            return StockReceived(product_id=product_id, quantity=value, reason="more")
        case "discontinue":
            return ProductDiscontinued(product_id=product_id)
        case _:
            return ProductAdded(
                product_id=product_id,
                sku=f"SKU-{number}",
                sku_key=f"sku-{number}",
                name=f"Name {value}",
                description="",
                price=price,
                tax_rate=Decimal(0),
                category=None,
                tags=(),
            )


class Catalogue:
    """The list under test, and what happens to its rows: events, folded as the consumer folds them."""

    def __init__(self, database: Database, pages: Pages, log: EventLog) -> None:
        self._database = database
        self._pages = pages
        self._log = log
        self._position = 0
        self.rows: dict[int, ListedProduct] = {}
        self.resold: set[int] = set()

    @property
    def on_sale(self) -> set[int]:
        return {number for number, row in self.rows.items() if row.status == "active"}

    async def begin(self, added: dict[int, int]) -> None:
        await self._database.execute("TRUNCATE rm_product_card_1")
        self.rows, self.resold = {}, set()
        for number, value in added.items():
            await self.happen("add", number, value)

    async def happen(self, what: str, number: int, value: int) -> None:
        if (what == "add") == (number in self.rows):
            return
        self._position += 1
        row = PRODUCT_CARD.project(self.rows.get(number), self._recorded(event_of(what, number, value), number))
        assert row is not None
        self.rows[number] = row
        if what in ("sell", "return"):
            self.resold.add(number)
        async with self._database.write() as session:
            key = str(row.id)
            await Table(PRODUCT_CARD, FIRST).put(session, [written(PRODUCT_CARD, key, Kept(self._position, row))])
            # As if everything were applied as soon as it is appended.
            await session.execute("UPDATE log_head SET position = $1", self._position)

    def _recorded(self, event: Event, number: int) -> Recorded:
        return Recorded(
            position=self._position,
            stream_id=entity(number),
            version=self._position,
            category="product",
            shard=0,
            type="",
            schema_version=1,
            data=event,
            metadata={},
            recorded_at=NOON + timedelta(seconds=self._position),
        )

    async def page(self, sort: str, limit: int, cursor: str | None) -> tuple[list[Any], str | None]:
        query = Query(projection=PRODUCTS, sort=SORTS[sort], list_id=cursors.list_id(self._log, "x", {"sort": sort}))
        query.within(ON_SALE)
        query.after(cursor)
        documents, following = await self._pages.fetch(query, limit, {}, 0)
        return [orjson.loads(document) for document in documents], following


@pytest.fixture
async def catalogue(settings: Settings) -> AsyncIterator[Catalogue]:
    database = Database(pool_of(settings))
    await lay_down(database)
    async with database.session() as session:
        log = await identify(session, CODEC)
    async with Reads(cache_of(settings), database, CurrentLog.behind(database, log)).running() as reads:
        assert await reads.watch.ready(5)
        yield Catalogue(database, Pages(database, reads, at_once=1), log)
    await database.close()


@given(
    rows=st.dictionaries(numbers, values, max_size=15),
    changes=st.lists(st.lists(change, max_size=6), max_size=12),
    sort=st.sampled_from(sorted(SORTS)),
    limit=st.integers(1, 5),
)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pages_add_up_while_rows_move(
    catalogue: Catalogue, rows: dict[int, int], changes: list[list[tuple[str, int, int]]], sort: str, limit: int
) -> None:
    await catalogue.begin(rows)
    seen: list[Any] = []
    cursor: str | None = None
    for happening in [*changes, *[[]] * 60]:
        page, cursor = await catalogue.page(sort, limit, cursor)
        assert len(page) <= limit
        seen += page
        if cursor is None:
            break
        assert len(page) == limit
        for what, number, value in happening:
            await catalogue.happen(what, number, value)
    assert cursor is None
    counted = Counter(int(item["sku"].split("-")[1]) for item in seen)
    if not SORTS[sort].keeps:
        # what has stood still all the while, that is: a product that sells may pass the reader
        counted = Counter({number: times for number, times in counted.items() if number not in catalogue.resold})
        catalogue.rows = {number: row for number, row in catalogue.rows.items() if number not in catalogue.resold}
    assert not {number: times for number, times in counted.items() if times > 1}
    assert set(rows) & catalogue.on_sale <= set(counted)


@pytest.mark.parametrize("sort", ["name", "price", "-price"])
async def test_a_product_that_jumps_over_the_cursor_is_seen_once(catalogue: Catalogue, sort: str) -> None:
    await catalogue.begin({1: 1, 2: 2, 3: 3})
    first, cursor = await catalogue.page(sort, 1, None)
    seen = {item["sku"] for item in first}
    for number in (1, 3):  # the first goes to the end, and the last to the front
        for what in ("reprice", "rename"):
            await catalogue.happen(what, number, 4 - number)
    await catalogue.happen("sell", 1, 9)
    while cursor is not None:
        page, cursor = await catalogue.page(sort, 1, cursor)
        assert not seen & {item["sku"] for item in page}
        seen |= {item["sku"] for item in page}
    assert seen == {"SKU-1", "SKU-2", "SKU-3"}
