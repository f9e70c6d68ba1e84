"""Closed loops: writers that each do one deed after the other, bounded in count and time, timed from a warm start."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.figures import Figures, summed_up

WARM_UP_SECONDS = 0.5
MOST_DEEDS = 3_000_000


async def race(deed: Callable[[int], Awaitable[object]], *, writers: int, seconds: float) -> Figures:
    """Run ``deed(writer)`` over and over in ``writers`` tasks; what the warm-up does is not counted."""
    await _lap(deed, writers, min(WARM_UP_SECONDS, seconds))
    latencies, elapsed = await _lap(deed, writers, seconds)
    return summed_up(latencies, elapsed)


async def _lap(deed: Callable[[int], Awaitable[object]], writers: int, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    start = perf_counter()
    end = start + seconds

    async def write(writer: int) -> None:
        before = perf_counter()
        while before < end and len(latencies) < MOST_DEEDS:
            await deed(writer)
            after = perf_counter()
            latencies.append(after - before)
            before = after

    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(write(writer))
    return latencies, perf_counter() - start


def race_threads(deed: Callable[[int], object], *, writers: int, seconds: float) -> Figures:
    """The same with one thread per writer, for libraries that block."""
    _lap_threads(deed, writers, min(WARM_UP_SECONDS, seconds))
    latencies, elapsed = _lap_threads(deed, writers, seconds)
    return summed_up(latencies, elapsed)


def _lap_threads(deed: Callable[[int], object], writers: int, seconds: float) -> tuple[list[float], float]:
    latencies: list[float] = []
    failures: list[BaseException] = []
    start = perf_counter()
    end = start + seconds

    def write(writer: int) -> None:
        try:
            while perf_counter() < end and len(latencies) < MOST_DEEDS and not failures:
                before = perf_counter()
                deed(writer)
                latencies.append(perf_counter() - before)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return latencies, perf_counter() - start
