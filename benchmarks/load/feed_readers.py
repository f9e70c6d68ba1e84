"""Readers of the log as server-sent events, while events are written on schedule: how long until each has each?

Run as ``python -m benchmarks.load.feed_readers FILE`` with a JSON :class:`Feed`; prints
:class:`~benchmarks.figures.Figures`. A latency runs from the time that the log gives an event, which is just before its
commit, to its arrival at a reader. It fails where a reader lacks an event, has one twice, or has them in another order.
"""

import asyncio
import json
import re
import sys
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from random import sample
from time import time
from typing import cast
from uuid import uuid4

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.figures import Figures, summed_up
from benchmarks.load.http_client import request
from benchmarks.load.orders import Orders
from benchmarks.ours.settings import settings_of
from benchmarks.setting.waiting import until
from benchmarks.task import Task
from domain.inventory import INVENTORY, ChangeStock
from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.startup import open_log
from infra.postgres.pool import Database
from infra.write_side import open_write_side

_EVENT = re.compile(rb'"recorded_at":"([^"]+)"}\nid: ([0-9]+)\n')
_WARM_UP_SECONDS = 1.0
_TURNS = 50
"""How often in a second events are written."""
_PRODUCTS = 1_000
_GRACE_SECONDS = 10.0
_MOST_SECONDS = 10.0
"""What has come is kept until a lap is over."""


@dataclass(frozen=True, kw_only=True)
class Feed(Orders):
    """``rate`` events a second."""

    port: int
    token: str
    database: str
    redis: str
    readers: int
    rate: int
    seconds: float


class Untold(Exception):
    """A stream was refused, or did not tell each event once and in its place."""


class _Reader(asyncio.Protocol):
    """One stream. ``heard`` are the pieces in which it came, and when."""

    def __init__(self, feed: Feed, after: int) -> None:
        headers = {"Authorization": f"Bearer {feed.token}", "Accept": "text/event-stream"}
        self._request = request("GET", f"/v1/events?after={after}", headers)
        self.heard: list[tuple[float, bytes]] = []
        self.begun = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.heard.append((time(), data))
        self.begun.set()

    def has(self, position: int) -> bool:
        """Whether it has come as far as that."""
        return b"\nid: %d\n" % position in b"".join(data for _, data in self.heard[-4:])

    def told(self) -> Sequence[tuple[int, float, bytes]]:
        """The position of each event, when the last of it came, and when it was committed."""
        ends = list(accumulate(len(data) for _, data in self.heard))
        found = _EVENT.finditer(b"".join(data for _, data in self.heard))
        return [(int(each[2]), self.heard[bisect_left(ends, each.end())][0], each[1]) for each in found]


async def read(feed: Feed) -> Figures:
    """Keep to the schedule for the lap's time. Raises :class:`Untold`."""
    settings = settings_of(Task(database=feed.database, redis=feed.redis, seconds=feed.seconds))
    readers: list[_Reader] = []
    async with AsyncExitStack() as stack:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        log = await open_log(database, CODEC)
        handler = open_write_side(stack, settings, database, log, CollectorRegistry())
        async with database.acquire() as session:
            after: int = await session.fetchval("SELECT log_position()")
        try:
            readers += [await _begun(feed, after) for _ in range(feed.readers)]
            last = after + await _write_all(feed, handler)

            async def heard() -> bool:
                return all(reader.has(last) for reader in readers)

            await until(heard, seconds=_GRACE_SECONDS, what=f"telling all readers of event {last}", every=0.1)
        finally:
            for reader in readers:
                reader.transport.abort()
    committed: dict[bytes, float] = {}
    warm = round(feed.rate * _WARM_UP_SECONDS)
    late = [late for reader in readers for late in _latencies(reader, range(after + 1, last + 1), committed)[warm:]]
    return summed_up(late, _seconds(feed))


def _seconds(feed: Feed) -> float:
    return min(feed.seconds, _MOST_SECONDS)


async def _begun(feed: Feed, after: int) -> _Reader:
    _, reader = await asyncio.get_running_loop().create_connection(lambda: _Reader(feed, after), "127.0.0.1", feed.port)
    async with asyncio.timeout(_GRACE_SECONDS):
        await reader.begun.wait()
    if not reader.heard[0][1].startswith(b"HTTP/1.1 200"):
        raise Untold(f"a stream was answered {reader.heard[0][1][:500]!r}")
    return reader


async def _write_all(feed: Feed, handler: CommandHandler) -> int:
    """One event for each command, and as many in each turn as the rate has it. Answers how many that were."""
    loop, products = asyncio.get_running_loop(), [uuid4() for _ in range(_PRODUCTS)]
    start, each = loop.time(), feed.rate // _TURNS
    context = CommandContext(principal="account:1", actor="account:1", correlation="01JGF9C5Z3W4N8V2K6T1R7Q0XB")
    turns = round(_TURNS * (_WARM_UP_SECONDS + _seconds(feed)))
    async with asyncio.TaskGroup() as group:
        for turn in range(turns):
            await asyncio.sleep(max(0.0, start + turn / _TURNS - loop.time()))
            for product_id in sample(products, each):
                command = ChangeStock(product_id=product_id, change=1, reason="delivery")
                group.create_task(handler.handle((INVENTORY, product_id), command, context))
    return turns * each


def _latencies(reader: _Reader, positions: Sequence[int], committed: dict[bytes, float]) -> list[float]:
    told = reader.told()
    if [position for position, _, _ in told] != list(positions):
        raise Untold(
            f"of {len(positions)} events {len(told)} were told, {len({each[0] for each in told})} different ones"
        )
    return [at - _time(recorded, committed) for _, at, recorded in told]


def _time(recorded: bytes, known: dict[bytes, float]) -> float:
    if recorded not in known:
        known[recorded] = datetime.fromisoformat(recorded.decode()).timestamp()
    return known[recorded]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(read(Feed(**json.loads(Path(sys.argv[1]).read_text())))).tell()
