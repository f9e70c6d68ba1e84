"""Periodic work of a process, done beside its requests whether or not Postgres is there."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.waiting import happens
from infra.postgres.errors import is_passing

Task = Callable[[], Awaitable[object]]

_log = structlog.get_logger("weir.repeating")


@asynccontextmanager
async def repeating(
    name: str, task: Task, seconds: float, *, sooner: asyncio.Event | None = None, rest: float = 0.0
) -> AsyncIterator[None]:
    """Does the task every ``seconds`` until the block ends; what keeps it from succeeding is logged when it begins.

    Whenever ``sooner`` is set it is done at once, though never sooner than ``rest`` seconds after the last time.
    """
    pause = partial(_pause, seconds, asyncio.Event() if sooner is None else sooner, rest)
    running = asyncio.create_task(_repeat(name, task, pause), name=name)
    try:
        yield
    finally:
        await cancel_and_wait(running)


async def _pause(seconds: float, sooner: asyncio.Event, rest: float) -> None:
    """Cleared before the task and not after: what is told meanwhile is for the next time."""
    await asyncio.sleep(rest)
    await happens(sooner, seconds * random.uniform(0.8, 1.0) - rest)  # noqa: S311
    sooner.clear()


async def _repeat(name: str, task: Task, pause: Task) -> None:
    failing = False
    while True:
        await pause()
        failed = await _fails(name, task, quiet=failing)
        if failing and not failed:
            _log.info("goes on again", task=name)
        failing = failed


async def _fails(name: str, task: Task, *, quiet: bool) -> bool:
    try:
        await task()
    except Exception as error:
        # Whatever it is, the next turn must come: to stop listening is no option.
        if not quiet and is_passing(error):
            _log.warning("cannot go on for now", task=name, error=str(error) or type(error).__name__)
        elif not quiet:
            _log.exception("failed", task=name)
        return True
    return False
