"""Keeps one child alive: when it ends, says so, waits a little longer each time, and starts it again."""

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from cli.supervisor.console import Level, Report
from infra.concurrency.waiting import happens
from infra.embedded import Process, StartFailed

_random = secrets.SystemRandom()


class Startable(Protocol):
    """A server or program that can be started any number of times."""

    @property
    def name(self) -> str: ...

    @property
    def process(self) -> Process: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait before the n-th restart in a row. After ``calm`` seconds of life the count starts anew."""

    first: float = 0.25
    most: float = 15.0
    calm: float = 20.0

    def delay(self, failures: int) -> float:
        """Doubling from ``first`` up to ``most``, of which between a half and the whole is waited."""
        longest = min(self.most, self.first * 2.0 ** min(failures, 30))
        return longest * _random.uniform(0.5, 1.0)


class Child:
    """One kept process. ``start`` it once, then run ``keep`` in a task; ``stop`` after that task is cancelled."""

    def __init__(self, subject: Startable, backoff: Backoff, report: Report) -> None:
        self._subject = subject
        self._backoff = backoff
        self._report = report
        self._failures = 0
        self._starts = 0
        self._awaited = 1
        self._changed = asyncio.Condition()
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._at_once = asyncio.Event()

    @property
    def name(self) -> str:
        return self._subject.name

    @property
    def pid(self) -> int:
        """The pid of the newest process, which may have ended."""
        return self._subject.process.pid

    @property
    def restarts(self) -> int:
        """How often it was started again and became ready."""
        return max(0, self._starts - 1)

    async def start(self) -> None:
        """Start and wait until it is ready. Raises StartFailed."""
        await self._subject.start()
        async with self._changed:
            self._starts += 1
            self._changed.notify_all()

    async def keep(self) -> None:
        """Restart it whenever it ends, for as long as this is not cancelled."""
        while True:
            began = time.monotonic()
            await self._subject.process.exited()
            self._failures = 0 if time.monotonic() - began > self._backoff.calm else self._failures
            await self._start_again(f"ended by {self._subject.process.ending()}")

    async def stop(self) -> None:
        """Stop the process, by its own patience."""
        await self._subject.stop()

    async def kill(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process; for one that kills, wait until it has ended."""
        self._awaited = self._starts + 1
        self._subject.process.send(sign)
        if sign == signal.SIGKILL:
            await self._subject.process.exited()

    def renew(self) -> None:
        """Let the process drain and end. Its successor starts at once, also where one has failed and is waited for."""
        self._awaited = self._starts + 1
        self._at_once.set()
        self._subject.process.send(signal.SIGTERM)

    async def restarted(self, timeout: float = 30.0) -> None:
        """Wait until the successor of the process that was killed or renewed last is ready. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(lambda: self._starts >= self._awaited)

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Killed on entry, and not started again before the exit, which waits until it is ready."""
        self._wanted.clear()
        try:
            await self.kill()
            yield
        finally:
            self._wanted.set()
        await self.restarted()

    async def _start_again(self, reason: str) -> None:
        while True:
            await self._pause(reason)
            await self._wanted.wait()
            try:
                await self.start()
            except StartFailed as failure:
                reason = failure.summary
            except OSError as failure:
                reason = str(failure)
            else:
                self._report(self.name, f"ready again, pid {self.pid}", Level.INFO)
                return

    async def _pause(self, reason: str) -> None:
        """Longer after each failure in a row; none where a new process is what was asked for."""
        if not self._at_once.is_set():
            delay = self._backoff.delay(self._failures)
            self._failures += 1
            self._report(self.name, f"{reason}; starting again in {delay:.1f} s", Level.WARNING)
            await happens(self._at_once, delay)
        if self._at_once.is_set():
            self._at_once.clear()
            self._failures = 0
