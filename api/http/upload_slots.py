"""Bodies that an endpoint reads itself, when it knows who sends them: some at a time, and none for ever."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request

from api.errors import Problem
from infra.errors import TooBusy

MOST_AT_ONCE: Final = 8
WAIT_SECONDS: Final = 5.0
"""For a place. Who waits has sent nothing yet that would take up memory."""
WHOLE_SECONDS: Final = 60.0
"""For all of a body; the edge has bounded each wait for a part of it, and its size."""


class Slots:
    """So many at once; one too many waits a moment for its place."""

    def __init__(self, most: int, *, wait: float = WAIT_SECONDS) -> None:
        self._free = asyncio.Semaphore(most)
        self._wait = wait

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """A place, for as long as the block lasts. Raises :class:`~infra.errors.TooBusy`."""
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError:
            raise TooBusy("too many uploads at once") from None
        try:
            yield
        finally:
            self._free.release()


class UploadSlots:
    """How many bodies this process holds whole in memory."""

    def __init__(self, *, most: int = MOST_AT_ONCE, wait: float = WAIT_SECONDS, whole: float = WHOLE_SECONDS) -> None:
        self._slots = Slots(most, wait=wait)
        self._whole = whole

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, for as long as the block lasts.

        Raises :class:`~infra.errors.TooBusy`, and :class:`~api.errors.Problem`: ``request-timeout``, or the edge's.
        """
        async with self._slots.acquire():
            yield await self._read(request)

    async def _read(self, request: Request) -> bytes:
        content = bytearray()
        try:
            async with asyncio.timeout(self._whole):
                async for chunk in request.stream():
                    content += chunk
        except TimeoutError:
            raise Problem("request-timeout") from None
        return bytes(content)
