"""What is remembered of rows is bounded in bytes, and of no use to another owner."""

from infra.eventsourcing.consumers.consumer import Lease
from infra.eventsourcing.leases import Place
from infra.eventsourcing.projections.fold import Kept
from infra.eventsourcing.projections.row_keeper import PER_BYTE, PER_ROW, Memory
from infra.eventsourcing.projections.row_table import Loaded


def lease() -> Lease:
    return Lease(place=Place("thing", 1, 0), owner=None, epoch=1, position=0, cache_position=0)


def row(size: int) -> Loaded:
    return Loaded(Kept(1, object()), size)


def test_rows_are_forgotten_by_bytes_the_least_recently_used_first() -> None:
    one, consumer_state = lease(), Memory(3 * (1_000 * PER_BYTE + PER_ROW))
    consumer_state.keep(one, {"a": row(1_000), "b": row(1_000), "c": row(1_000)})
    consumer_state.keep(one, {"a": row(1_000)})
    consumer_state.keep(one, {"d": row(1_500)})
    assert consumer_state.rows(one, {"a", "b", "c", "d"}).keys() == {"a", "d"}
    assert consumer_state.size <= 3 * (1_000 * PER_BYTE + PER_ROW)


def test_a_row_that_alone_is_too_large_is_not_kept() -> None:
    one, consumer_state = lease(), Memory(10_000)
    consumer_state.keep(one, {"a": row(1_000_000)})
    assert (consumer_state.size, consumer_state.rows(one, {"a"})) == (0, {})


def test_the_next_owner_finds_nothing_of_the_former() -> None:
    former, present, consumer_state = lease(), lease(), Memory()
    consumer_state.keep(former, {"a": row(10)})
    assert consumer_state.rows(present, {"a"}) == {}
