"""Waiting for what tells nobody that it has happened."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from benchmarks.failure import Failed

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, seconds: float, what: str, every: float = 0.05) -> T:
    """Look again and again until there is something to see, and give it. Raises :class:`Failed` naming ``what``."""
    end = monotonic() + seconds
    while monotonic() < end:
        if seen := await look():
            return seen
        await asyncio.sleep(every)
    raise Failed(f"{what} took more than {seconds:g} s")
