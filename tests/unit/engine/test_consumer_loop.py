"""The order in which a process moves the places that it holds, and when it looks at them again."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from infra.eventsourcing.consumers.consumer import Batch, Lease
from infra.eventsourcing.consumers.consumer_loop import sound_first
from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.page_reader import BATCH, Reader, Readers
from infra.eventsourcing.leases import Place
from tests.unit.engine.test_projection_inbox import entries


def batch(consumer: str, shard: int) -> Batch:
    lease = Lease(place=Place(consumer, 1, shard), owner=None, epoch=1, position=0, cache_position=0)
    return Batch(lease, [], 1, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_consumer_that_is_held_up_anywhere_comes_last_with_all_of_its_places() -> None:
    """Each of them may wait for the same table, and all others would wait with it, once for each."""
    mine, other, brother = batch("mine", 0), batch("other", 0), batch("mine", 1)
    assert sound_first([mine, other, brother], {"mine"}) == [[other], [mine, brother]]
    assert sound_first([mine, other, brother], set()) == [[mine, other, brother]]
    assert sound_first([mine], {"mine"}) == [[mine]]


class NoFeed:
    """Streams that bring nothing by themselves."""

    def join(self, _inbox: Inbox, _heads: Mapping[int, int]) -> None:
        """Nobody is told of anything."""


def test_a_reader_that_was_too_busy_to_take_looks_again_once_its_lease_has_done_its_work() -> None:
    """Nothing else would have it look, where no event comes after those that wait."""
    wake, nothing = asyncio.Event(), cast(Any, None)
    readers = Readers({}, whole=False, database=nothing, log=nothing, feed=cast(Any, NoFeed()), wake=wake)
    busy = batch("mine", 0).lease
    readers.begin([busy], {0: 0})
    busy.wanted = entries(range(1, BATCH + 1))
    ((reader, _),) = readers.take()
    reader.inbox.offer(entries([1, 2]))
    wake.clear()

    assert [took for _, took in readers.take()] == [False]
    readers.fill(_untold)
    assert not wake.is_set()

    busy.wanted = []
    readers.fill(_untold)
    assert wake.is_set()


def _untold(_reader: Reader, _entries: Any) -> None:
    """Nothing is read from Postgres here."""
