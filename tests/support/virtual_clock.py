"""A clock for connections under test: their timers run when the test says so, everything else as it does."""

import asyncio
from collections.abc import Callable
from typing import Any

from api.http.connection.protocol import Protocol


class VirtualClock:
    """The running loop, but for its timers. ``pass_time`` runs those that are due, in their order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._now = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        # The loop of a handle hears of its cancellation alone, and has nothing to do with it: the timer is not its own.
        timer = asyncio.TimerHandle(self._now + seconds, call, arguments, self._loop)
        self._timers.append(timer)
        return timer

    def pass_time(self, seconds: float) -> None:
        """So much time has passed."""
        until = self._now + seconds
        while due := [timer for timer in self._timers if timer.when() <= until]:
            first = min(due, key=asyncio.TimerHandle.when)
            self._timers.remove(first)
            self._now = max(self._now, first.when())
            if not first.cancelled():
                first._run()
        self._now = until


class Heard:
    """What a connection has taken in, and whether it is still there."""

    def __init__(self) -> None:
        self.bytes = 0
        self.waiting: Callable[[], int] = lambda: 0
        self.over = False


def clocked(clock: VirtualClock, heard: Heard) -> type[Protocol]:
    """The protocol on that clock."""

    class Clocked(Protocol):
        def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
            super().__init__(config, server_state, app_state, clock)  # type: ignore[arg-type]

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            heard.waiting = transport.get_write_buffer_size
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            heard.bytes += len(data)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            heard.over = True

    return Clocked
