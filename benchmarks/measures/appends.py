"""Durable appends: group commit against one commit each, with 32 writers and with one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.measure import WEIR, Bar, Lap, Measure

_LIBRARY = "eventsourcing 9.5"
_LIBRARY_FUNCTIONS = "eventsourcing 9.5 with database functions"
_PLAIN = "asyncpg INSERT"


@asynccontextmanager
async def _opened(bench: Bench, *, writers: int) -> AsyncIterator[Mapping[str, Lap]]:
    async with bench.databases.fresh(migrated=True) as ours, bench.databases.fresh(migrated=False) as theirs:

        def side(module: str, database: str, **extra: object) -> Lap:
            async def lap(_number: int) -> Figures:
                return await bench.lap(f"benchmarks.{module}", database=database, writers=writers, extra=extra)

            return lap

        sides = {WEIR: side("ours.append", ours), _PLAIN: side("peers.asyncpg_append", theirs)}
        if writers > 1:
            sides[_LIBRARY] = side("peers.eventsourcing_append", theirs)
            sides[_LIBRARY_FUNCTIONS] = side("peers.eventsourcing_append", theirs, functions=True)
        yield sides


WITH_MANY = Measure(
    name="appends-32",
    unit="appends/s",
    open=partial(_opened, writers=32),
    bars=(
        Bar(what="durable appends, 32 concurrent writers, one process", against=_LIBRARY, ratio=30),
        Bar(what="the same", against=_PLAIN, ratio=5),
        Bar(what="the same", against=_LIBRARY_FUNCTIONS),
    ),
)
WITH_ONE = Measure(
    name="appends-1",
    unit="appends/s",
    open=partial(_opened, writers=1),
    bars=(Bar(what="durable appends, 1 writer", against=_PLAIN, ratio=1.0),),
)
