"""Pages of a cold log that are slow or cannot be read: they are read again, and no lease is dropped over it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, cast
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from infra.errors import Unavailable
from infra.event_codec import CODEC
from infra.eventsourcing.consumers.consumer import Lease, Member
from infra.eventsourcing.consumers.page_reader import FILLS, Readers
from infra.eventsourcing.consumers.stream_feed import Feed
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.leases import Place
from infra.postgres.pool import Database
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

SHARDS = 6
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Row(NamedTuple):
    """An event as it is read."""

    position: int
    stream_id: UUID
    version: int
    category: str
    shard: int
    type: str
    schema_version: int
    data: bytes
    metadata: bytes
    recorded_at: datetime


class ColdLog:
    """A log with one event in each shard, whose pages come when they are let, and fail for so many times before."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.let, self.busy = asyncio.Event(), asyncio.Event()
        self.failures, self.error = failures, error or Unavailable("Postgres cannot be reached")
        self.asked: list[int] = []
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
        self.asked.append(shard)
        if self.failures:
            self.failures -= 1
            raise self.error
        return [Row(shard + 1, UUID(int=1), 1, "order", shard, "order.paid", 1, b"{}", b"{}", datetime.now(UTC))]


class NoStreams:
    """A feed that brings nothing."""

    def join(self, *_: Any) -> None: ...

    def leave(self, *_: Any) -> None: ...


class Reading:
    """The readers of a process that has taken all shards of a cold log."""

    def __init__(self, log: ColdLog, shards: int = SHARDS) -> None:
        self.wake = asyncio.Event()
        member = Member(name="thing", rest=0, linger=0, wants=lambda _: True)
        self.leases = [
            Lease(place=Place("thing", 0, shard), owner=uuid4(), epoch=1, position=0, cache_position=0)
            for shard in range(shards)
        ]
        self.readers = Readers(
            {"thing": member},
            whole=False,
            database=cast(Database, log),
            log=LOG,
            feed=cast(Feed, NoStreams()),
            wake=self.wake,
        )
        self.readers.begin(self.leases, {shard: shard + 1 for shard in range(shards)})

    def turn(self) -> None:
        """What a driver does when it is woken."""
        list(self.readers.take())
        self.readers.fill(lambda *_: None)

    async def until_all_is_read(self) -> None:
        """Turns of a driver, one each time that it is woken."""
        async with asyncio.timeout(10):
            while not all(lease.wanted for lease in self.leases):
                self.wake.clear()
                self.turn()
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


def unreadable(failures: int) -> ColdLog:
    """A row that the driver has no value for."""
    log = ColdLog(failures, OverflowError("date value out of range"))
    log.let.set()
    return log


async def test_a_page_that_nobody_can_make_sense_of_is_told_once_and_read_again_when_somebody_has_mended_it() -> None:
    lost: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: lost.append(about))
    log = unreadable(failures=2)
    reading = Reading(log, shards=1)
    with capture_logs() as lines:
        await reading.until_all_is_read()
    gc.collect()
    assert [(line["event"], line["shard"], line["error"]) for line in lines] == [
        ("page cannot be read", 0, "OverflowError: date value out of range")
    ]
    assert lost == []
    assert log.asked == [0] * 3


async def test_who_waits_for_a_page_to_be_mended_does_not_ask_for_it_all_the_time_nor_holds_up_other_shards() -> None:
    log = unreadable(failures=1)
    reading = Reading(log, shards=3)
    async with asyncio.timeout(5):
        while sum(bool(lease.wanted) for lease in reading.leases) < 2:
            reading.turn()
            await asyncio.sleep(0)
    asked = len(log.asked)
    for _ in range(20):
        reading.turn()
        await asyncio.sleep(0)
    assert len(log.asked) == asked == 3
    await reading.readers.close()


async def test_what_a_stream_has_brought_is_held_against_the_log_before_anything_follows_on_it() -> None:
    """Else an event of another history would be applied with the next one, by which alone a commit is told."""
    log = ColdLog()
    log.let.set()
    reading = Reading(log, shards=1)
    ((reader, _),) = reading.readers.take()
    (lease,) = reading.leases
    brought = Entry(SimpleNamespace(recorded_at=NOON), CODEC.decode, 1, 0, 0, UUID(int=1), "order.paid")
    reader.inbox.offer([brought])
    list(reading.readers.take())
    reader.inbox.aim(2)
    async with asyncio.timeout(5):
        while not reading.readers.astray():
            reading.turn()
            await reading.wake.wait()
            reading.wake.clear()
    assert reading.readers.astray() == [(lease, 1)]
    assert lease.wanted == [brought], "nothing was added to it"
    await reading.readers.close()
