"""What a second and a fourth process bring: of the API, which writes and reads, and of the workers of read models."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import Final

import asyncpg

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.generator import MARK, Load
from benchmarks.load.http_client import request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.measures.products import readable
from benchmarks.setting.databases import SHARDS
from benchmarks.setting.log import write_log
from benchmarks.setting.shop import stocked
from benchmarks.setting.waiting import until

COUNTS: Final = (1, 2, 4)
REQUESTS: Final = 5_000
_CONNECTIONS = 64
_NO_TURN = 503
"""Several processes want the same stock: who has lost too many races is told to come back, and has no order."""
_SHARE = 5
"""The log that read models catch up with is this much shorter than the one that is replayed."""
_CAUGHT_UP_SECONDS = 150.0
_LOOK_SECONDS = 0.05

_BEGUN: Final = (
    "SELECT EXISTS (SELECT FROM checkpoints c JOIN projections p ON p.name = c.consumer WHERE c.position > 0)"
)
_BEHIND: Final = """
SELECT EXISTS (SELECT FROM checkpoints c JOIN projections p ON p.name = c.consumer AND p.live_generation = c.generation
WHERE c.position < coalesce((SELECT max(position) FROM events e WHERE c.shard < 0 OR e.shard = c.shard), 0))"""


def _side(count: int) -> str:
    return WEIR if count == COUNTS[-1] else f"{count} process{'es' if count > 1 else ''}"


def _bars(what: str) -> Sequence[Bar]:
    """Without limits: on a machine of two cores the load, the servers and the processes share what there is."""
    most = f"{what}, {COUNTS[-1]} processes"
    between = [Bar(what=f"{what}, {count} processes", ours=_side(count), against=_side(1)) for count in COUNTS[1:-1]]
    return (*between, Bar(what=most, against=_side(1)))


@asynccontextmanager
async def _servers(bench: Bench, database: str) -> AsyncIterator[list[int]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(bench.weir_server(database)) for _ in range(COUNTS[-1])]


def lap_of(bench: Bench, ports: Sequence[int], requests: Sequence[str], expect: int, count: int) -> Lap:
    """The same load on these ports, as that of ``count`` processes: no two laps of a measure share a key."""

    async def lap(number: int) -> Figures:
        load = Load(
            ports=[*ports],
            requests=[*requests],
            expect=[expect],
            uncounted=[_NO_TURN],
            seconds=bench.options.seconds,
            connections=_CONNECTIONS,
            run=number * len(COUNTS) + COUNTS.index(count),
        )
        return await bench.client("benchmarks.load.generator", load)

    return lap


def _laps(bench: Bench, ports: list[int], requests: list[str], expect: int) -> Mapping[str, Lap]:
    """On so many of the processes, of which the others rest."""
    return {_side(count): lap_of(bench, ports[:count], requests, expect, count) for count in COUNTS}


@asynccontextmanager
async def _writing(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as database, _servers(bench, database) as ports:
        shop = await stocked(ports[0])
        baskets = workload.baskets(REQUESTS, shop.products)
        yield _laps(bench, ports, [shop.order(basket, MARK).decode() for basket in baskets], 201)


@asynccontextmanager
async def _reading(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        _servers(bench, database) as ports,
        bench.weir_worker("relay", database),
        bench.weir_worker("projections", database),
    ):
        shop = await stocked(ports[0])
        await readable(shop)
        requests = [request("GET", f"/v1/products/{product}", {}).decode() for product in shop.products]
        yield _laps(bench, ports, requests, 200)


@asynccontextmanager
async def _projecting(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    def side(count: int) -> Lap:
        async def lap(_number: int) -> Figures:
            async with bench.databases.fresh(migrated=True) as database, AsyncExitStack() as stack:
                for _ in range(count):
                    await stack.enter_async_context(bench.weir_worker("projections", database))
                return await _caught_up(database, bench.options.events // _SHARE)

        return lap

    yield {_side(count): side(count) for count in COUNTS}


async def _caught_up(database: str, events: int) -> Figures:
    """How fast all read models apply a log that is there all at once, from the first event that one has applied."""
    connection = await asyncpg.connect(database)
    writing = asyncio.create_task(write_log(database, events, SHARDS))
    try:

        async def begun() -> bool:
            return bool(await connection.fetchval(_BEGUN))

        async def done() -> bool:
            return not await connection.fetchval(_BEHIND)

        await until(begun, seconds=_CAUGHT_UP_SECONDS, every=_LOOK_SECONDS, what="the first event")
        start = perf_counter()
        written = await writing
        await until(done, seconds=_CAUGHT_UP_SECONDS, every=_LOOK_SECONDS, what="catching up")
        seconds = perf_counter() - start
        return Figures(rate=written / seconds, count=written, seconds=seconds)
    finally:
        writing.cancel()
        await connection.close()


PLACING = Measure(name="scale-orders", unit="orders/s", open=_writing, bars=_bars("`POST /v1/orders`"))
READING = Measure(name="scale-reads", unit="reads/s", open=_reading, bars=_bars("hot `GET /v1/products/{id}`"))
PROJECTING = Measure(
    name="scale-projections", unit="events/s", open=_projecting, bars=_bars("all read models catch up with a log")
)
