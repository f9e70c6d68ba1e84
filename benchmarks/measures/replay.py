"""Rebuilding a read model from the log: ``weir replay order_summary`` against the library's projection runner."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import perf_counter

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.measure import WEIR, Bar, Lap, Measure

_RUNNER = "eventsourcing 9.5 ProjectionRunner"
_SEEDED_PER_SECOND = 3_000
"""Events laid ready for the library per second of a lap: more than it can process."""


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    database = await bench.databases.long_log()
    async with bench.databases.fresh(migrated=False) as peer_database:

        async def ours(_number: int) -> Figures:
            start = perf_counter()
            await bench.weir("replay", "order_summary", database=database)
            seconds = perf_counter() - start
            events = bench.options.events // 3 * 3
            return Figures(rate=events / seconds, count=events, seconds=seconds)

        async def theirs(number: int) -> Figures:
            extra = {"events": round(bench.options.seconds * _SEEDED_PER_SECOND), "schema": f"round_{number}"}
            module = "benchmarks.peers.eventsourcing_projection"
            return await bench.lap(module, database=peer_database, extra=extra)

        yield {WEIR: ours, _RUNNER: theirs}


REBUILDING = Measure(
    name="replay",
    unit="events/s",
    open=_opened,
    bars=(
        Bar(
            what="`weir replay order_summary`, the whole command, from start to end",
            against=_RUNNER,
            ratio=80,
            least=100_000,
        ),
    ),
)
