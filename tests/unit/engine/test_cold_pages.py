"""Pages of a cold log that are slow or cannot be read: they are read again, and no lease is dropped over it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from infra.errors import Unavailable
from infra.eventsourcing.consumers.consumer import Lease, Member
from infra.eventsourcing.consumers.page_reader import FILLS, Readers
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.leases import Place
from infra.postgres.pool import Database
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

SHARDS = 6


class ColdLog:
    """A log with one event in each shard, whose pages come when they are let, and fail for so many times before."""

    def __init__(self, failures: int = 0) -> None:
        self.let, self.busy = asyncio.Event(), asyncio.Event()
        self.failures = failures
        self.at_once = self.most_at_once = 0

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["ColdLog"]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once == FILLS:
            self.busy.set()
        try:
            yield self
        finally:
            self.at_once -= 1

    async def fetch(self, _statement: str, shard: int, *_bounds: Any) -> list[Any]:
        await self.let.wait()
        if self.failures:
            self.failures -= 1
            raise Unavailable("Postgres cannot be reached")
        return [(shard + 1, UUID(int=1), 1, "order", shard, "order.paid", 1, b"{}", b"{}", datetime.now(UTC))]


class NoStreams:
    """A feed that brings nothing."""

    def join(self, *_: Any) -> None: ...

    def leave(self, *_: Any) -> None: ...


class Reading:
    """The readers of a process that has taken all shards of a cold log."""

    def __init__(self, log: ColdLog) -> None:
        self.wake = asyncio.Event()
        member = Member(name="thing", rest=0, linger=0, wants=lambda _: True)
        self.leases = [
            Lease(place=Place("thing", 0, shard), owner=uuid4(), epoch=1, position=0, cache_position=0)
            for shard in range(SHARDS)
        ]
        self.readers = Readers(
            {"thing": member},
            whole=False,
            database=cast(Database, log),
            log=LOG,
            feed=cast(Feed, NoStreams()),
            wake=self.wake,
        )
        self.readers.begin(self.leases, {shard: shard + 1 for shard in range(SHARDS)})

    async def until_all_is_read(self) -> None:
        """Turns of a driver, one each time that it is woken."""
        async with asyncio.timeout(10):
            while not all(lease.wanted for lease in self.leases):
                self.wake.clear()
                list(self.readers.take())
                self.readers.fill(lambda *_: None)
                if not all(lease.wanted for lease in self.leases):
                    await self.wake.wait()


async def test_however_slow_pages_are_few_are_read_at_once_and_none_is_asked_for_twice() -> None:
    log = ColdLog()
    reading = Reading(log)
    working = asyncio.create_task(reading.until_all_is_read())
    async with asyncio.timeout(5):
        await log.busy.wait()
    log.let.set()
    await working
    assert log.most_at_once == FILLS
    assert [len(lease.wanted) for lease in reading.leases] == [1] * SHARDS


async def test_a_page_that_cannot_be_read_is_read_again_and_its_lease_goes_on() -> None:
    log = ColdLog(failures=2)
    log.let.set()
    reading = Reading(log)
    await reading.until_all_is_read()
    assert log.failures == 0
    assert [reading.readers.position(lease) for lease in reading.leases] == [shard + 1 for shard in range(SHARDS)]
