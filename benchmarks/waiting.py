"""Waiting for what tells nobody that it has happened."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, seconds: float, every: float = 0.05) -> T:
    """Look again and again until there is something to see, and give it. Raises ``TimeoutError``."""
    async with asyncio.timeout(seconds):
        while True:
            if seen := await look():
                return seen
            await asyncio.sleep(every)
