"""Placing orders over HTTP: Weir's whole write path against a tutorial's ORM commit."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.generator import MARK, Load
from benchmarks.load.http_client import request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.shop import stocked

_TUTORIAL = "FastAPI + SQLAlchemy ORM"
_REQUESTS = 5_000


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.databases.fresh(migrated=False) as peer_database,
        bench.weir_server(database) as port,
        bench.peer_server("tutorial_write", database=peer_database) as peer_port,
    ):
        shop = await stocked(port)
        baskets = workload.baskets(_REQUESTS, shop.products)
        ours = [shop.order(basket, MARK).decode() for basket in baskets]
        theirs = [_tutorial_order(basket) for basket in workload.baskets(_REQUESTS, workload.product_ids())]

        def side(port: int, requests: list[str]) -> Lap:
            async def lap(number: int) -> Figures:
                load = Load(ports=[port], requests=requests, expect=[201], seconds=bench.options.seconds, run=number)
                return await bench.client("benchmarks.load.generator", load)

            return lap

        yield {WEIR: side(port, ours), _TUTORIAL: side(peer_port, theirs)}


def _tutorial_order(basket: workload.Basket) -> str:
    body = json.dumps({"items": [{"product_id": str(product_id), "quantity": 1} for product_id in basket]})
    return request("POST", "/orders", {"Content-Type": "application/json"}, body.encode()).decode()


PLACING = Measure(
    name="orders",
    unit="orders/s",
    open=_opened,
    bars=(
        Bar(
            what="`POST /v1/orders` to durable event; auth, idempotency, metrics, log; 64 connections",
            against=_TUTORIAL,
            ratio=8,
            p99_ms=25,
        ),
    ),
)
