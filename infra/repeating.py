"""What a process does again and again beside its requests, whether or not Postgres is there."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import structlog

from infra.endings import end
from infra.errors import AWAY

Task = Callable[[], Awaitable[object]]

_log = structlog.get_logger("weir.repeating")


@asynccontextmanager
async def repeating(name: str, task: Task, seconds: float) -> AsyncIterator[None]:
    """Does the task every ``seconds`` until the block ends; what keeps it from succeeding is logged when it begins."""
    running = asyncio.create_task(_repeat(name, task, seconds), name=name)
    try:
        yield
    finally:
        await end(running)


async def _repeat(name: str, task: Task, seconds: float) -> None:
    failing = False
    while True:
        await asyncio.sleep(seconds * random.uniform(0.8, 1.0))  # noqa: S311
        failed = await _fails(name, task, quiet=failing)
        if failing and not failed:
            _log.info("goes on again", task=name)
        failing = failed


async def _fails(name: str, task: Task, *, quiet: bool) -> bool:
    try:
        await task()
    except (*AWAY, TimeoutError, asyncpg.PostgresError) as error:
        if not quiet:
            _log.warning("cannot go on for now", task=name, error=str(error))
        return True
    except Exception:
        # Whatever it is, the next turn must come: to stop listening is no option.
        if not quiet:
            _log.exception("failed", task=name)
        return True
    return False
