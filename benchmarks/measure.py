"""What a measure is: sides that play in turn, and the bars that Weir's side has to clear against another or alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from benchmarks.bench import Bench
from benchmarks.figures import Figures

WEIR = "Weir"

Lap: TypeAlias = Callable[[int], Awaitable[Figures]]
"""Plays one round of one side. The number of the round makes names and keys of its own."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the results; without limits it informs.

    ``ratio`` is the least quotient of the rates of ``ours`` and ``against``, ``p99_ratio`` the most of their p99s.
    ``most`` bounds what is the better the less there is of it.
    """

    what: str
    ours: str = WEIR
    against: str | None = None
    ratio: float | None = None
    least: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    most: float | None = None
    p99_ratio: float | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """``open`` prepares both sides and gives them by name, in playing order; it cleans up when the rounds are over."""

    name: str
    unit: str
    bars: Sequence[Bar]
    open: Callable[[Bench], AbstractAsyncContextManager[Mapping[str, Lap]]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """Every side's figures, one per round, in the order of the rounds."""

    measure: Measure
    sides: Mapping[str, Sequence[Figures]]

    def rate(self, side: str) -> float:
        """The side's median rate."""
        return median(figures.rate for figures in self.sides[side])

    def ratios(self, bar: Bar) -> list[float]:
        """One quotient per round, each of two laps that followed one another."""
        if bar.against is None:
            return []
        pairs = list(zip(self.sides[bar.ours], self.sides[bar.against], strict=True))
        if bar.p99_ratio is not None:
            return [ours.p99_ms / theirs.p99_ms for ours, theirs in pairs if theirs.p99_ms]
        return [ours.rate / theirs.rate for ours, theirs in pairs if theirs.rate]

    def ratio(self, bar: Bar) -> float:
        """The median of the ratios."""
        return median(self.ratios(bar))

    def p50_ms(self, side: str) -> float:
        """The median of the rounds' medians."""
        return median(figures.p50_ms for figures in self.sides[side])

    def p99_ms(self, side: str) -> float:
        """The median of the rounds' 99th percentiles."""
        return median(figures.p99_ms for figures in self.sides[side])

    def missed(self, bar: Bar) -> list[str]:
        """Which limits of the bar were missed, in words; empty if it was cleared."""
        missed = {
            "ratio": bar.ratio is not None and self.ratio(bar) < bar.ratio,
            "rate": bar.least is not None and self.rate(bar.ours) < bar.least,
            "p50": bar.p50_ms is not None and self.p50_ms(bar.ours) > bar.p50_ms,
            "p99": bar.p99_ms is not None and self.p99_ms(bar.ours) > bar.p99_ms,
            "most": bar.most is not None and self.rate(bar.ours) > bar.most,
            "p99 ratio": bar.p99_ratio is not None and self.ratio(bar) > bar.p99_ratio,
        }
        return [limit for limit, is_missed in missed.items() if is_missed]
