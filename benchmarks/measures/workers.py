"""Several workers on one port, `weir serve --workers`: reads from memory and orders, by one process, two and four."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from benchmarks.bench import Bench
from benchmarks.load import workload
from benchmarks.load.generator import MARK
from benchmarks.load.http_client import request
from benchmarks.measure import Bar, Lap, Measure
from benchmarks.measures.products import readable
from benchmarks.measures.scale import COUNTS, REQUESTS, lap_of
from benchmarks.setting.shop import stocked


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(bench.databases.fresh(migrated=True))
        ports = {count: await stack.enter_async_context(bench.weir_server(database, count)) for count in COUNTS}
        async with bench.weir_worker("relay", database), bench.weir_worker("projections", database):
            shop = await stocked(ports[1])
            await readable(shop)
        reads = [request("GET", f"/v1/products/{product_id}", {}).decode() for product_id in shop.products]
        orders = [shop.order(basket, MARK).decode() for basket in workload.baskets(REQUESTS, shop.products)]
        kinds = {"reads": (reads, 200), "orders": (orders, 201)}
        yield {
            _side(kind, count): lap_of(bench, [ports[count]], *kinds[kind], count) for kind in kinds for count in COUNTS
        }


def _side(kind: str, count: int) -> str:
    return f"{kind}, {count} worker{'s' if count > 1 else ''}"


SHARING: Final = Measure(
    name="workers",
    unit="requests/s",
    open=_opened,
    bars=tuple(
        Bar(
            what=f"{kind} by `weir serve --workers {count}`; 64 connections, their client on the same cores",
            ours=_side(kind, count),
            against=_side(kind, 1),
        )
        for kind in ("reads", "orders")
        for count in COUNTS[1:]
    ),
)
