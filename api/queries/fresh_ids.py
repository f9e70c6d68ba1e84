"""Ids of things made a moment ago, and the places of those who may wait for such a thing to be shown."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

FRESH_SECONDS: Final = 2.0
"""Whoever follows a `Location` does so at once."""
SKEW_SECONDS: Final = 1.0
"""By how much the clock of the process that made the id may be ahead of ours. For one behind, the two seconds do."""
WAIT_SECONDS: Final = 0.25
MOST_WAITING: Final = 256
MOST_OF_ONE_CALLER: Final = 16

_VERSION: Final = 7


def is_fresh(entity_id: UUID, now: float) -> bool:
    """Whether it is a UUIDv7 (RFC 9562) of the last two seconds, or of a clock that is a little ahead."""
    if entity_id.version != _VERSION:
        return False
    age = now - (entity_id.int >> 80) / 1000
    return -SKEW_SECONDS <= age < FRESH_SECONDS


class FreshIds:
    """Which ids are fresh by this process's clock, and who waits for one: ``most`` in all, ``of_one`` of each caller.

    Anybody can make up a fresh id. So both are bounded, and who finds no place is answered at once.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        seconds: float = WAIT_SECONDS,
        most: int = MOST_WAITING,
        of_one: int = MOST_OF_ONE_CALLER,
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self._most = most
        self._of_one = of_one
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._waiting.total()

    @contextmanager
    def place(self, entity_id: UUID, caller: str) -> Iterator[bool]:
        """Whether the caller may wait for this id, as long as the block lasts."""
        taken = is_fresh(entity_id, self.clock()) and self._has_room_for(caller)
        if not taken:
            yield False
            return
        self._waiting[caller] += 1
        try:
            yield True
        finally:
            self._waiting[caller] -= 1
            if not self._waiting[caller]:
                del self._waiting[caller]

    def _has_room_for(self, caller: str) -> bool:
        return self.waiting < self._most and self._waiting[caller] < self._of_one
