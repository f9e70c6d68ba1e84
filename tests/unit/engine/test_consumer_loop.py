"""The order in which a process moves the places that it holds."""

from datetime import UTC, datetime

from infra.eventsourcing.consumers.consumer import Batch, Lease
from infra.eventsourcing.consumers.consumer_loop import sound_first
from infra.eventsourcing.leases import Place


def batch(consumer: str, shard: int) -> Batch:
    lease = Lease(place=Place(consumer, 1, shard), owner=None, epoch=1, position=0, cache_position=0)
    return Batch(lease, [], 1, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_consumer_that_is_held_up_anywhere_comes_last_with_all_of_its_places() -> None:
    """Each of them may wait for the same table, and all others would wait with it, once for each."""
    mine, other, brother = batch("mine", 0), batch("other", 0), batch("mine", 1)
    assert sound_first([mine, other, brother], {"mine"}) == [[other], [mine, brother]]
    assert sound_first([mine, other, brother], set()) == [[mine, other, brother]]
    assert sound_first([mine], {"mine"}) == [[mine]]
