"""Growing waits between attempts, with jitter: what failed together does not come back together."""

import random
from dataclasses import dataclass
from typing import Final

MOST_STEPS: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """``first`` seconds after the first attempt, ``factor`` times as long after each further one, up to ``longest``.

    Up to half of each wait is taken off at random.
    """

    first: float = 2.0
    factor: float = 3.0
    longest: float

    def after(self, attempts: int, asked: float | None = None) -> float:
        """Seconds until the next attempt; never sooner than ``asked``, and then up to a tenth later."""
        steps = min(max(attempts - 1, 0), MOST_STEPS)
        own = min(self.first * self.factor**steps, self.longest) * random.uniform(0.5, 1)  # noqa: S311
        return max(own, (asked or 0.0) * random.uniform(1, 1.1))  # noqa: S311


LONGEST_PAUSE: Final = 2.0
"""Seconds between two attempts at a connection that is kept."""


class Pauses:
    """The same for a connection that is kept: doubled from one attempt to the next, until one has succeeded."""

    def __init__(self, *, first: float = 0.05) -> None:
        self._first = self._next = first

    def reset(self) -> None:
        """It has succeeded."""
        self._next = self._first

    def next(self) -> float:
        """Seconds until the next attempt, after one that failed."""
        seconds = self._next * random.uniform(0.5, 1)  # noqa: S311
        self._next = min(self._next * 2, LONGEST_PAUSE)
        return seconds
