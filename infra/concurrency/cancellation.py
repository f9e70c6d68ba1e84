"""Ending tasks for certain."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

PATIENCE_SECONDS = 0.1


async def cancel_and_wait(*tasks: "asyncio.Task[Any]") -> None:
    """Cancels tasks until they have ended; what they raise is theirs.

    Once is not always enough: before Python 3.12 ``asyncio.wait_for``, by which the Redis client connects, loses a
    cancellation that comes together with the result (python/cpython#86296).
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PATIENCE_SECONDS)
    for task in tasks:
        take_note(task)


def take_note(done: "asyncio.Future[Any]") -> None:
    """Of what has ended, and may have failed, when everybody who wanted it has gone: nobody is told that it did."""
    if not done.cancelled():
        done.exception()


async def carried_through(work: Coroutine[Any, Any, object]) -> None:
    """Does last work of a task that is being cancelled, although :func:`cancel_and_wait` cancels it again.

    The work must be bounded; what it raises is raised.
    """
    doing = asyncio.ensure_future(work)
    while not doing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(doing)
    doing.result()
