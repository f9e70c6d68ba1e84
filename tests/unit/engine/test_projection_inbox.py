"""What is handed out of an inbox is the log, whatever the streams do."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from infra.event_codec import CODEC
from infra.eventsourcing.consumers.inbox import Inbox
from infra.eventsourcing.event_log import Entry

STREAM = UUID(int=7)


def entries(positions: Sequence[int]) -> list[Entry]:
    """A shard's events at these positions, linked."""
    links = zip([0, *positions], positions, strict=False)
    return [Entry(None, CODEC.decode, position, prev, 0, STREAM, "thing.happened") for prev, position in links]


def log(length: int) -> list[Entry]:
    """A whole log: each event's shard predecessor says nothing, its position does."""
    return [
        Entry(None, CODEC.decode, position, 0, position % 3, STREAM, "thing.happened")
        for position in range(1, length + 1)
    ]


def opened(position: int = 0, *, whole: bool = False) -> Inbox:
    return Inbox(position, whole=whole, wake=lambda: None)


def positions(taken: Sequence[Entry]) -> list[int]:
    return [entry.position for entry in taken]


def test_linked_events_are_handed_out_in_order() -> None:
    inbox = opened()
    inbox.offer(entries([3, 7, 8]))
    assert positions(inbox.take(100)) == [3, 7, 8]
    assert (inbox.position, inbox.behind()) == (8, False)


def test_an_event_that_does_not_link_up_is_held_back() -> None:
    inbox, events = opened(), entries([3, 7, 8])
    inbox.offer([events[0], events[2]])
    assert positions(inbox.take(100)) == [3]
    assert inbox.behind()
    inbox.supply([events[1], events[2]], after=3)
    assert positions(inbox.take(100)) == [7, 8]
    assert not inbox.behind()


def test_an_event_that_comes_twice_is_handed_out_once() -> None:
    inbox, events = opened(), entries([3, 7])
    inbox.offer(events)
    inbox.offer(events)
    assert positions(inbox.take(100)) == [3, 7]
    inbox.offer(events)
    assert inbox.take(100) == []
    assert not inbox.behind()


def test_what_was_published_before_the_checkpoint_is_dropped() -> None:
    inbox = opened(7)
    inbox.offer(entries([3, 7, 9]))
    assert positions(inbox.take(100)) == [9]


def test_a_known_head_that_no_stream_has_brought_makes_it_look_in_postgres() -> None:
    inbox = opened(3)
    assert not inbox.behind()
    inbox.aim(9)
    assert inbox.behind()
    inbox.supply([Entry(None, CODEC.decode, 9, 3, 0, STREAM, "thing.happened")], after=3)
    assert positions(inbox.take(100)) == [9]
    assert not inbox.behind()


def test_what_postgres_does_not_know_is_no_event() -> None:
    inbox = opened(3)
    inbox.offer([Entry(None, CODEC.decode, 9, 8, 0, STREAM, "thing.happened")])
    assert inbox.behind()
    inbox.supply([], after=3)
    assert not inbox.behind()
    assert inbox.take(100) == []


def test_an_event_that_links_up_survives_a_look_that_was_too_early() -> None:
    inbox = opened(3)
    inbox.offer([Entry(None, CODEC.decode, 9, 3, 0, STREAM, "thing.happened")])
    inbox.supply([], after=3)
    assert positions(inbox.take(100)) == [9]


def test_more_than_it_can_hold_is_left_to_postgres() -> None:
    inbox = Inbox(0, whole=False, wake=lambda: None, capacity=3)
    inbox.offer(entries([1, 2, 3, 4]))
    assert inbox.take(100) == []
    assert inbox.behind()


def test_no_more_is_handed_out_than_was_asked_for() -> None:
    inbox = opened()
    inbox.offer(entries([1, 2, 3]))
    assert positions(inbox.take(2)) == [1, 2]
    assert positions(inbox.take(2)) == [3]


def test_an_inbox_of_the_whole_log_wants_every_position() -> None:
    inbox = opened(whole=True)
    inbox.offer([each for each in log(5) if each.position != 3])
    assert positions(inbox.take(100)) == [1, 2]
    assert inbox.behind()
    inbox.offer([log(5)[2]])
    assert positions(inbox.take(100)) == [3, 4, 5]


DELIVERIES = st.lists(st.lists(st.integers(0, 39), max_size=12), max_size=12)
"""What the streams do: any events, any number of times, in batches in any order."""


def healed(inbox: Inbox, events: Sequence[Entry], deliveries: Sequence[Sequence[int]]) -> list[int]:
    """Lets an owner work on the deliveries, with Postgres at hand; at the end the head of the log is known."""
    taken: list[int] = []

    def work() -> None:
        for _ in range(len(events) + 2):
            taken.extend(positions(inbox.take(5)))
            if inbox.behind():
                inbox.supply([each for each in events if each.position > inbox.position][:4], after=inbox.position)

    for delivery in deliveries:
        inbox.offer(sorted((events[place] for place in delivery), key=lambda each: each.position))
        work()
    inbox.aim(events[-1].position)
    work()
    return taken


@given(DELIVERIES)
def test_whatever_the_streams_bring_a_shard_comes_out_once_and_in_order(deliveries: list[list[int]]) -> None:
    events = entries([3 * n + 1 for n in range(40)])
    assert healed(opened(), events, deliveries) == positions(events)


@given(DELIVERIES)
def test_whatever_the_streams_bring_the_log_comes_out_once_and_in_order(deliveries: list[list[int]]) -> None:
    events = log(40)
    assert healed(opened(whole=True), events, deliveries) == positions(events)


class Trusting(Inbox):
    """One that does not look at the links."""

    def _links(self, entry: Entry, position: int) -> bool:  # noqa: ARG002
        return True


def test_without_the_look_at_the_links_a_lost_event_would_be_passed_over() -> None:
    events = entries([3, 7, 8])
    trusting = Trusting(0, whole=False, wake=lambda: None)
    taken: Any = healed(trusting, events, [[0], [2]])
    assert taken == [3, 8]
