"""What a checkpoint says of the cache: a position counts in the memory that has heard of it, and in no other."""

from uuid import uuid4

from infra.eventsourcing.consumers.consumer import Batch, Lease, fence
from infra.eventsourcing.leases import Place


def lease(era: str) -> Lease:
    """Refreshed up to 10; Postgres knows of 5, in the memory "first"."""
    place = Place("thing", 1, 0)
    return Lease(
        place=place,
        owner=uuid4(),
        epoch=1,
        position=10,
        cache_position=10,
        saved_cache_position=5,
        era=era,
        saved_era="first",
    )


def saved_cache_position(held: Lease) -> int:
    """What the next move writes down of it."""
    cache_position: list[int] = fence([Batch(held, [], 11, None)])[6]
    return cache_position[0]


def test_a_move_notes_how_far_the_cache_has_followed() -> None:
    assert saved_cache_position(lease("first")) == 10


def test_a_move_notes_nothing_of_a_memory_that_postgres_does_not_know_of_yet() -> None:
    held = lease("second")
    assert saved_cache_position(held) == 5
    assert held.noteworthy


def test_what_was_noted_is_not_worth_another_note() -> None:
    held = lease("first")
    saved_cache_position(held)
    assert not held.noteworthy
