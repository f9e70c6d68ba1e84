"""A distribution in buckets, for a Prometheus histogram: to observe a value costs a list index instead of a lock."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Distribution:
    """How many values were seen up to each of the ``bounds``, which rise. Touched by one thread alone, hence no lock.

    ``counts`` has one more than there are bounds, for what is beyond them all; ``total`` is the sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One has been seen."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, other: "Distribution") -> None:
        """Those of another distribution over the same bounds."""
        self.counts = [one + more for one, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative and by their upper bounds, as Prometheus wants them."""
        names = (*map(str, map(float, self.bounds)), "+Inf")
        return [*zip(names, map(float, accumulate(self.counts)), strict=True)]
