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


class Uploads:
    """How many bodies this process holds whole in memory."""

    def __init__(self, *, most: int = MOST_AT_ONCE, wait: float = WAIT_SECONDS, whole: float = WHOLE_SECONDS) -> None:
        self._places = asyncio.Semaphore(most)
        self._wait = wait
        self._whole = whole

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, for as long as the block lasts.

        Raises :class:`~infra.errors.TooBusy`, and :class:`~api.errors.Problem`: ``request-timeout``, or the edge's.
        """
        try:
            async with asyncio.timeout(self._wait):
                await self._places.acquire()
        except TimeoutError:
            raise TooBusy("too many uploads at once") from None
        try:
            yield await self._read(request)
        finally:
            self._places.release()

    async def _read(self, request: Request) -> bytes:
        content = bytearray()
        try:
            async with asyncio.timeout(self._whole):
                async for chunk in request.stream():
                    content += chunk
        except TimeoutError:
            raise Problem("request-timeout") from None
        return bytes(content)
