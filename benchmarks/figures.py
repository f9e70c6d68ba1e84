"""Figures of one run of one side: rate and latencies, as they travel as one JSON line from its process to the bench."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One run. ``rate`` is in the measure's unit, per second but for few; latencies are milliseconds, 0 where
    nothing is waited for one by one.
    """

    rate: float
    count: int
    seconds: float
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    client_us: float = 0.0
    """CPU that the load generator itself spent per request."""

    def tell(self) -> None:
        """Print the run as the last line of the process's output."""
        sys.stdout.write(json.dumps(asdict(self)) + "\n")
        sys.stdout.flush()


def heard(output: str) -> Figures:
    """The figures that :meth:`Figures.tell` printed; raises ``ValueError`` if the output ends otherwise."""
    return Figures(**json.loads(output.strip().rpartition("\n")[2]))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie (nearest rank), 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def summed_up(latencies: Sequence[float], seconds: float, *, client_cpu: float = 0.0) -> Figures:
    """Figures of ``latencies`` (seconds each) gathered over ``seconds`` of wall time."""
    ordered = sorted(latencies)
    count = len(ordered)
    return Figures(
        rate=count / seconds,
        count=count,
        seconds=seconds,
        p50_ms=quantile(ordered, 0.5) * 1e3,
        p95_ms=quantile(ordered, 0.95) * 1e3,
        p99_ms=quantile(ordered, 0.99) * 1e3,
        max_ms=(ordered[-1] if ordered else 0.0) * 1e3,
        client_us=client_cpu / max(count, 1) * 1e6,
    )
