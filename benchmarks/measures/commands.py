"""Commands on one hot stream against the same on as many streams as there are writers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.measure import WEIR, Bar, Lap, Measure

_WRITERS = 32
_SPREAD = f"Weir, {_WRITERS} streams"


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as database:

        def side(streams: int) -> Lap:
            async def lap(_number: int) -> Figures:
                return await bench.lap(
                    "benchmarks.ours.commands", database=database, writers=_WRITERS, extra={"streams": streams}
                )

            return lap

        yield {WEIR: side(1), _SPREAD: side(_WRITERS)}


HOT_STREAM = Measure(
    name="hot-stream",
    unit="commands/s",
    open=_opened,
    bars=(Bar(what=f"durable commands on one single stream, {_WRITERS} writers", against=_SPREAD, ratio=0.6),),
)
