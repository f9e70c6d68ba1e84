"""Hot reads over HTTP: a product's document from Weir's memory against a tutorial's Redis cache."""

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.generator import Load
from benchmarks.load.http_client import Client, request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.shop import Shop, stocked
from benchmarks.setting.waiting import until

_TUTORIAL = "FastAPI + redis GET + response_model"
_READABLE_SECONDS = 60.0


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.weir_server(database) as port,
        bench.weir_worker("relay", database),
        bench.weir_worker("projections", database),
        bench.peer_server("tutorial_read", database=database) as peer_port,
    ):
        shop = await stocked(port)
        await readable(shop)
        ours = [request("GET", f"/v1/products/{product_id}", {}).decode() for product_id in shop.products]
        theirs = [request("GET", f"/products/{id_}", {}).decode() for id_ in workload.product_ids()]

        def side(port: int, requests: list[str]) -> Lap:
            async def lap(_number: int) -> Figures:
                return await bench.client(
                    "benchmarks.load.generator",
                    Load(ports=[port], requests=requests, expect=[200], seconds=bench.options.seconds),
                )

            return lap

        yield {WEIR: side(port, ours), _TUTORIAL: side(peer_port, theirs)}


async def readable(shop: Shop) -> None:
    """Wait until the read model has every product."""
    client = await Client.connect("127.0.0.1", shop.port)
    missing = deque(shop.products)

    async def look() -> bool:
        while missing and (await client.ask(request("GET", f"/v1/products/{missing[0]}", {})))[0] == 200:
            missing.popleft()
        return not missing

    try:
        await until(look, seconds=_READABLE_SECONDS, what="making the products readable")
    finally:
        client.close()


READING = Measure(
    name="products",
    unit="reads/s",
    open=_opened,
    bars=(
        Bar(
            what="hot `GET /v1/products/{id}`; metrics, log; 64 connections, one process",
            against=_TUTORIAL,
            ratio=8,
        ),
    ),
)
