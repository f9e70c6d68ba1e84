"""Work that an answer does not wait for: bounded, and brought to its end before the process ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import TooBusy

MOST: Final = 200
DRAIN_SECONDS: Final = 5.0

_log = structlog.get_logger("weir.background")


class Background:
    """What goes on behind the answers of one process, ``most`` pieces of work at a time."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins a piece of work; what it raises is logged. Raises :class:`~infra.errors.TooBusy`, and begins nothing.

        The same for whoever asks: that there is no room tells nothing of what the work would find.
        """
        if len(self._running) >= self._most:
            work.close()
            raise TooBusy("too much goes on in the background")
        task = asyncio.create_task(self._carried_out(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Gives what runs a few seconds, then cancels it."""
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
        await cancel_and_wait(*self._running)

    async def _carried_out(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # nobody is left to be told
            _log.warning("background work failed", work=getattr(work, "__qualname__", ""), error=type(error).__name__)
