"""The order in which a process moves the places that it holds, and when it looks at them again."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

from infra.event_codec import CODEC
from infra.eventsourcing.consumers.consumer import Batch, Lease, Member
from infra.eventsourcing.consumers.consumer_loop import sound_first
from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.consumers.pacing import Pace
from infra.eventsourcing.consumers.page_reader import BATCH, Reader, Readers
from infra.eventsourcing.event_log import Entry
from infra.eventsourcing.leases import Place
from tests.unit.engine.test_projection_inbox import STREAM, entries


def batch(consumer: str, shard: int) -> Batch:
    lease = Lease(place=Place(consumer, 1, shard), owner=None, epoch=1, position=0, cache_position=0)
    return Batch(lease, [], 1, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_consumer_that_is_held_up_anywhere_comes_last_with_all_of_its_places() -> None:
    """Each of them may wait for the same table, and all others would wait with it, once for each."""
    mine, other, brother = batch("mine", 0), batch("other", 0), batch("mine", 1)
    assert sound_first([mine, other, brother], {"mine"}) == [[other], [mine, brother]]
    assert sound_first([mine, other, brother], set()) == [[mine, other, brother]]
    assert sound_first([mine], {"mine"}) == [[mine]]


def opened(wanted: int) -> Lease:
    lease = batch("mine", 0).lease
    lease.opened, lease.wanted = True, entries(range(1, wanted + 1))
    return lease


def test_the_places_of_a_member_rest_together_after_a_commit() -> None:
    pace = Pace(Member(name="mine", rest=5.0, linger=1.0, wants=lambda _: True))
    assert pace.due([opened(1)], 100.0) <= 100.0
    pace.move([Batch(opened(0), entries([1]), 1, None), Batch(opened(0), [], 1, None)], 100.0)
    assert pace.due([opened(1)], 101.0) == 105.0
    assert pace.due([opened(0), opened(1)], 102.0) == 105.0


def test_a_whole_batch_and_a_place_that_is_new_do_not_wait() -> None:
    pace = Pace(Member(name="mine", rest=5.0, linger=1.0, wants=lambda _: True))
    pace.move([Batch(opened(0), entries([1]), 1, None)], 100.0)
    assert pace.due([opened(0), opened(BATCH)], 101.0) == 101.0
    assert pace.due([opened(0), batch("mine", 1).lease], 101.0) == 101.0


def test_moves_past_what_concerns_nobody_linger_for_company_and_no_longer_the_more_of_them_come() -> None:
    pace = Pace(Member(name="mine", rest=5.0, linger=1.0, wants=lambda _: True))
    assert pace.due([opened(0)], 100.0) == 101.0
    assert pace.due([opened(0), opened(0)], 100.4) == 101.0
    assert [pace.joins(now) for now in (100.4, 100.5, 100.6)] == [False, True, True]
    pace.move([Batch(opened(0), [], 1, None)], 101.0)
    assert pace.due([opened(1)], 101.0) <= 101.0, "nothing was committed that one would rest from"
    assert pace.due([opened(0)], 102.0) == 103.0
    pace.due([opened(1)], 102.9)
    assert not pace.joins(102.9), "what concerns it keeps to its rest"


class NoFeed:
    """Streams that bring nothing by themselves."""

    def join(self, _inbox: Inbox, _heads: Mapping[int, int]) -> None:
        """Nobody is told of anything."""

    def leave(self, _inbox: Inbox) -> None:
        """Nor was anybody."""


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


NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_who_has_come_as_far_by_another_event_goes_on_alone() -> None:
    """One of the two is of no history of this log: who went on with it would be refused with it, again and again."""
    names, nothing = ("astray", "right", "right as well"), cast(Any, None)
    members = {name: Member(name=name, rest=0, linger=0, wants=lambda _: True) for name in names}
    readers = Readers(
        members, whole=False, database=nothing, log=nothing, feed=cast(Any, NoFeed()), wake=asyncio.Event()
    )
    for name, at in zip(names, (NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=1)), strict=True):
        readers.begin([batch(name, 0).lease], {0: 0})
        (fresh,) = [reader for reader, _ in readers.take() if reader.inbox.position == 0]
        fresh.inbox.offer([Entry(SimpleNamespace(recorded_at=at), CODEC.decode, 1, 0, 0, STREAM, "thing.happened")])
        list(readers.take())
    together = [[lease.place.consumer for lease in reader.leases] for reader, _ in readers.take()]
    assert together == [["astray"], ["right", "right as well"]]
