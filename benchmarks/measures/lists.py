"""Lists over 100,000 products that nobody has analyzed: each filter and search that was ever slow, one at a time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import product
from typing import Final

from pydantic import SecretStr

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load.generator import Load
from benchmarks.load.http_client import request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from infra.postgres.pool import connect

PRODUCTS: Final = 100_000
SORTS: Final = ("name", "price", "-price", "newest", "popular")
FILTERS: Final = (
    "limit=20",
    "category=garden",
    "category=rare",
    "in_stock=false",
    "min_price=10",
    "q=kettle",
    "q=ketle",
    "q=ke",
    "q=product",
    "q=unicorn",
    "q=big+small+red+blue+green+steel",
    "q=" + "-" * 33,
    "q=kettle&category=garden&in_stock=true&min_price=10",
    "q=kettle&category=rare&in_stock=false",
)

_ROWS: Final = """
INSERT INTO rm_product_card_1 (key, position, version, document, name, category, tags, price, stock_available, sold,
                               status, created_at, title, words, moved, _places)
SELECT id, n, 1, json_build_object('id', id, 'name', name, 'description', repeat('x', 500)), name, category, '{}',
       n * 7919 % 10000 / 100.0, CASE WHEN n % 10 = 0 THEN 0 ELSE 5 END, n % 50, 'active',
       now() - make_interval(secs => n), name, name || CASE WHEN n = 50000 THEN ' unicorn' ELSE ' good to have' END, 0,
       '{"name": [], "price": []}'
FROM (SELECT n, md5(n::text)::uuid::text AS id,
             concat_ws(' ', 'Product', words[1 + n % 7], words[1 + n / 7 % 7], things[1 + n % 3], n) AS name,
             CASE WHEN n % 5000 = 0 THEN 'rare' WHEN n % 9 = 0 THEN 'garden' ELSE 'kitchen' END AS category
      FROM generate_series(1, $1::integer) AS n,
           (SELECT '{big,small,red,blue,green,steel,glass}'::text[] AS words,
                   '{kettle,lamp,chair}'::text[] AS things) AS w) AS rows
ORDER BY id"""


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as database:
        session = await connect(SecretStr(database))
        try:
            await session.execute("ALTER TABLE rm_product_card_1 SET (autovacuum_enabled = off)")
            await session.execute(_ROWS, PRODUCTS)
        finally:
            await session.close()
        async with bench.weir_server(database) as port:
            requests = [
                request("GET", f"/v1/products?sort={sort}&{filters}", {}).decode()
                for sort, filters in product(SORTS, FILTERS)
            ]

            async def lap(_number: int) -> Figures:
                load = Load(ports=[port], requests=requests, expect=[200], seconds=bench.options.seconds, connections=1)
                return await bench.client("benchmarks.load.generator", load)

            yield {WEIR: lap}


LISTING = Measure(
    name="lists",
    unit="pages/s",
    open=_opened,
    bars=(Bar(what="pages of 100,000 products without statistics, all filters and sorts, one client", p99_ms=25),),
)
