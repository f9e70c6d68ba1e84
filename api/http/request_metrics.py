"""Request metrics: how many, how long, and how many at a time; a count costs a list index instead of a lock."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Cell:
    """The durations of one label set. Touched by the event loop's thread alone, hence no lock."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one request."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        names = [*(str(bound) for bound in BOUNDS), "+Inf"]
        return [(name, float(sum(self.counts[: i + 1]))) for i, name in enumerate(names)]


class RequestMetrics(Collector):
    """``weir_http_request_seconds`` by method, route template and status, and the requests now in flight."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cells: dict[tuple[str, str, int], Cell] = {}
        self.in_flight = 0
        registry.register(self)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` must come from a bounded set."""
        key = (method, route, status)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = Cell()
        cell.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        family = HistogramMetricFamily(
            "weir_http_request_seconds", "Requests by route and status.", labels=("method", "route", "status")
        )
        for (method, route, status), cell in list(self._cells.items()):
            family.add_metric((method, route, str(status)), cell.buckets(), cell.total)
        yield family
        yield GaugeMetricFamily("weir_http_requests_in_flight", "Requests being answered.", value=self.in_flight)
