"""How long a committed order stays invisible, with every process of ``weir up`` on this machine."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.generator import MARK
from benchmarks.load.visible import Watch
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.shop import stocked

_RATE = 50
_REQUESTS = 5_000


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.weir_up() as port:
        shop = await stocked(port)
        orders = [shop.order(basket, MARK).decode() for basket in workload.baskets(_REQUESTS, shop.products)]

        async def lap(number: int) -> Figures:
            watch = Watch(
                port=port, token=shop.token, orders=orders, rate=_RATE, seconds=bench.options.seconds, run=number
            )
            return await bench.client("benchmarks.load.visible", watch)

        yield {WEIR: lap}


BECOMING = Measure(
    name="visible",
    unit="orders/s",
    open=_opened,
    bars=(Bar(what=f"commit → readable through the API, {_RATE} orders/s, all processes", p50_ms=8, p99_ms=25),),
)
