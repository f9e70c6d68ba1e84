"""A file of products into the log, against a plain loop that saves one thing after the other."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.measure import WEIR, Bar, Lap, Measure

_LOOP = "eventsourcing 9.5, a loop of `app.save`"


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as ours, bench.databases.fresh(migrated=False) as theirs:

        async def import_file(_number: int) -> Figures:
            return await bench.lap("benchmarks.ours.imports", database=ours)

        async def save_one_by_one(_number: int) -> Figures:
            return await bench.lap("benchmarks.peers.eventsourcing_append", database=theirs)

        yield {WEIR: import_file, _LOOP: save_one_by_one}


IMPORTING = Measure(
    name="import",
    unit="rows/s",
    open=_opened,
    bars=(
        Bar(
            what="a CSV file of products; parsed, validated, each with first stock, sku claimed, key kept; one worker",
            against=_LOOP,
            least=5_000,
        ),
    ),
)
"""Two events, a claim and a key a row against one event: no ratio is demanded."""
