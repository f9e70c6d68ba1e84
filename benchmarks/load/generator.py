"""The load generator: its own process, bare connections, requests prepared beforehand, bounded in count and time.

Run as ``python -m benchmarks.load.generator FILE`` with a JSON :class:`Load`; prints
:class:`~benchmarks.figures.Figures` and fails on an answer that was not expected. Each connection sends its next
request when the last has been answered.
"""

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import uvloop

from benchmarks.figures import Figures, summed_up
from benchmarks.load.http_client import Connection
from benchmarks.load.orders import Orders

MARK = "{unique}"
"""Stands in a request for 16 characters that no other request of the run has (an idempotency key, say)."""
_GRACE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Load(Orders):
    """What to send where: ``requests`` are dealt in turn, and so are connections to ``ports``.

    An answer of another status than those of ``expect`` is a failure. Those of ``uncounted`` are taken as well, but are
    no part of the figures.
    """

    ports: list[int]
    requests: list[str]
    expect: list[int]
    seconds: float
    host: str = "127.0.0.1"
    connections: int = 64
    most: int = 2_000_000
    warm_up: float = 1.0
    run: int = 0
    uncounted: list[int] = field(default_factory=list)

    @property
    def taken(self) -> set[int]:
        """What is no failure."""
        return {*self.expect, *self.uncounted}


class _Generator:
    """Counts answers and keeps every connection busy until time or count is up."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._next = _dealer(load)
        self._begin = self._end = 0.0
        self._busy = 0
        self._sent = 0
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.first_failure = b""
        self.idle = asyncio.Event()

    def start(self, connections: list["_Worker"]) -> None:
        self._begin = perf_counter() + self._load.warm_up
        self._end = self._begin + self._load.seconds
        self._busy = len(connections)
        for connection in connections:
            self.send(connection)

    def send(self, worker: "_Worker") -> None:
        worker.sent_at = perf_counter()
        if worker.sent_at >= self._end or self._sent >= self._load.most:
            return self.retire()
        self._sent += 1
        return worker.connection.send(self._next())

    def answered(self, worker: "_Worker", status: int, body: bytes) -> None:
        if worker.sent_at >= self._begin and status not in self._load.uncounted:
            self.latencies.append(perf_counter() - worker.sent_at)
        if status not in self._load.taken and not self.first_failure:
            self.first_failure = body or b"an empty answer"
        self.statuses[status] += 1
        self.send(worker)

    def retire(self) -> None:
        self._busy -= 1
        if not self._busy:
            self.idle.set()


class _Worker:
    """One connection and when it sent its last request."""

    __slots__ = ("_generator", "connection", "sent_at")

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self.sent_at = 0.0
        self.connection = Connection(self._answered, generator.retire)

    def protocol(self) -> Connection:
        return self.connection

    def _answered(self, status: int, _head: bytes, body: bytes) -> None:
        self._generator.answered(self, status, body)


def _dealer(load: Load) -> Callable[[], bytes]:
    parts = itertools.cycle([tuple(part.encode() for part in text.split(MARK, 1)) for text in load.requests])
    if MARK not in load.requests[0]:
        return itertools.cycle([text.encode() for text in load.requests]).__next__
    return (before + b"%06x%010x" % (load.run, number) + after for number, (before, after) in _count(parts)).__next__


def _count(parts: Iterator[tuple[bytes, ...]]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    return zip(itertools.count(), parts, strict=False)


async def generate(load: Load) -> Figures:
    """Put the load on the server. Raises ``RuntimeError`` if an answer was not the expected one or none came."""
    generator = _Generator(load)
    workers = [_Worker(generator) for _ in range(load.connections)]
    loop = asyncio.get_running_loop()
    for worker, port in zip(workers, itertools.cycle(load.ports), strict=False):
        await loop.create_connection(worker.protocol, load.host, port)
    cpu, start = process_time(), perf_counter()
    generator.start(workers)
    async with asyncio.timeout(load.warm_up + load.seconds + _GRACE_SECONDS):
        await generator.idle.wait()
    cpu = process_time() - cpu
    elapsed = perf_counter() - start - load.warm_up
    for worker in workers:
        worker.connection.close()
    if not generator.statuses or not set(generator.statuses) <= load.taken:
        raise RuntimeError(f"answers {dict(generator.statuses)}: {generator.first_failure.decode()[:500]}")
    spent = cpu * len(generator.latencies) / max(generator.statuses.total(), 1)
    return summed_up(generator.latencies, elapsed, client_cpu=spent)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(generate(Load(**json.loads(Path(sys.argv[1]).read_text())))).tell()
