"""Whether the streams flow. What counts is what they bring, not that somebody answers."""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from infra.eventsourcing.consumers.stream_feed import Feed

COMPARE_SECONDS: Final = 0.5
"""How often the log's head is looked at while the streams flow."""
BLIND_SECONDS: Final = 0.05
"""The same while they do not: then this look is what brings news."""
STILL_SECONDS: Final = 10.0
"""So long after they have stood still they count as such, whatever they have brought since."""


class Flow:
    """Judges the feed of a process by the log.

    A server that answers and has nothing for us is as good as away: it may refuse what the relay writes (read-only, out
    of replicas, not allowed), it may be a former master of which the relay knows better, or there is no relay.
    """

    def __init__(self, feed: Feed, clock: Callable[[], float] = monotonic) -> None:
        self._feed = feed
        self._clock = clock
        self._heads: Mapping[int, int] = {}
        self._compared = self._still_until = 0.0

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return BLIND_SECONDS if self._blind else COMPARE_SECONDS

    @property
    def _blind(self) -> bool:
        return not self._feed.up or self._clock() < self._still_until

    def due(self, heads: Mapping[int, int]) -> Mapping[int, int]:
        """How far each shard should have been brought, now that the log has these ``heads``: as far as it was a while
        ago, as what is new is still on its way; all of it, if there is no way."""
        now, before = self._clock(), self._heads
        if now - self._compared >= COMPARE_SECONDS / 2:
            if self._feed.stands_still(before):
                self._still_until = now + STILL_SECONDS
            self._compared, self._heads = now, heads
        return heads if self._blind else before
