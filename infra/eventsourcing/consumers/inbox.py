"""The inbox of a lease, in order: what the streams bring and what Postgres fills in are one queue."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from infra.eventsourcing.event_log import Entry

CAPACITY: Final = 2_000
"""Events that may wait. With more the queue is dropped: Postgres has them too, and gives them in pages."""

_position: Final = attrgetter("position")


class Inbox:
    """The events after ``position`` that have come so far. Only those that link up are handed out.

    The first event of a stream that is handed out must name ``position`` as the one before it, in its shard or, for a
    consumer of the whole log, in the log. Whatever else happens (a hole, a double, a wiped or trimmed stream), the
    events do not link up, the inbox is ``behind``, and the range is read from Postgres.
    """

    __slots__ = ("_capacity", "_deaf", "_queue", "_target", "position", "wake", "whole")

    def __init__(
        self, position: int, *, whole: bool, wake: Callable[[], None], capacity: int = CAPACITY, deaf: int = 0
    ) -> None:
        """``deaf``: up to this position nothing is believed but Postgres, since streams brought what is not there."""
        self.position = position
        self._deaf = deaf
        self.whole = whole
        self.wake = wake
        self._capacity = capacity
        self._queue: list[Entry] = []
        self._target = position

    def offer(self, entries: Sequence[Entry]) -> None:
        """Takes in events that a stream has brought, in ascending order."""
        queue = self._queue
        for entry in entries:
            if entry.position <= self.position or entry.position <= self._deaf:
                continue
            if not queue or entry.position > queue[-1].position:
                queue.append(entry)
            else:
                _insert(queue, entry)
        if queue:
            self._target = max(self._target, queue[-1].position)
            if len(queue) > self._capacity:
                queue.clear()
            self.wake()

    def supply(self, entries: Sequence[Entry], *, after: int) -> None:
        """Takes in what Postgres holds after ``after``. It is the truth: what contradicts it goes."""
        if not entries and after >= self.position:
            if self.behind():
                self._queue.clear()
                self._target = self.position
        elif entries:
            last = entries[-1].position
            self._queue = [*entries, *(entry for entry in self._queue if entry.position > last)]
        self.wake()

    def aim(self, position: int) -> None:
        """Says how far the log is known to be."""
        if position > self._target:
            self._target = position
            self.wake()

    def behind(self) -> bool:
        """Whether the next event must come from Postgres."""
        self._skip()
        return not self._links(self._queue[0], self.position) if self._queue else self._target > self.position

    def ready(self) -> bool:
        """Whether there are events that could be taken."""
        self._skip()
        return bool(self._queue) and self._links(self._queue[0], self.position)

    def take(self, limit: int) -> list[Entry]:
        """The next events that link up, at most ``limit``."""
        self._skip()
        position, taken = self.position, 0
        for entry in self._queue[:limit]:
            if not self._links(entry, position):
                break
            position, taken = entry.position, taken + 1
        ready, self._queue = self._queue[:taken], self._queue[taken:]
        self.position = position
        return ready

    def _links(self, entry: Entry, position: int) -> bool:
        return position == (entry.position - 1 if self.whole else entry.prev)

    def _skip(self) -> None:
        """Drops what was handed out before: a stream may bring an event twice."""
        gone = 0
        for entry in self._queue:
            if entry.position > self.position:
                break
            gone += 1
        if gone:
            del self._queue[:gone]


def _insert(queue: list[Entry], entry: Entry) -> None:
    """An event that comes late takes its place, unless it has it already."""
    place = bisect_left(queue, entry.position, key=_position)
    if queue[place].position != entry.position:
        queue.insert(place, entry)
