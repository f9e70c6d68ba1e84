"""Request metrics: how many, how long, and how many at a time; a count costs a few list indexes instead of a lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.observability.distribution import Distribution

BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RouteFigures:
    """The requests of one method on one route: those in progress, and those answered, by status."""

    __slots__ = ("answered", "in_progress")

    def __init__(self) -> None:
        self.in_progress = 0
        self.answered: dict[int, Distribution] = {}

    def observe(self, status: int, seconds: float) -> None:
        """One has been answered."""
        durations = self.answered.get(status)
        if durations is None:
            durations = self.answered[status] = Distribution(BOUNDS)
        durations.observe(seconds)

    def by_class(self) -> dict[str, Distribution]:
        """What was answered by the first digit of its status: a latency for each status would be many series of few."""
        classes: dict[str, Distribution] = {}
        for status, durations in list(self.answered.items()):
            classes.setdefault(f"{status // 100}xx", Distribution(BOUNDS)).add(durations)
        return classes


class RequestMetrics(Collector):
    """``http_requests_total``, ``http_request_duration_seconds`` and ``http_requests_in_progress``, by route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._figures: dict[tuple[str, str], RouteFigures] = {}
        registry.register(self)

    def of(self, method: str, route: str) -> RouteFigures:
        """Those of a method on a route; both must come from a bounded set."""
        figures = self._figures.get((method, route))
        if figures is None:
            figures = self._figures[method, route] = RouteFigures()
        return figures

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        by = ("method", "route")
        total = CounterMetricFamily("http_requests", "Requests answered, by route and status.", labels=(*by, "status"))
        seconds = HistogramMetricFamily(
            "http_request_duration_seconds",
            "From a request's head to the end of its answer; to its beginning, where the answer comes in parts.",
            labels=(*by, "status_class"),
        )
        busy = GaugeMetricFamily(
            "http_requests_in_progress", "Requests that are being answered; event streams are not.", labels=by
        )
        for where, figures in list(self._figures.items()):
            busy.add_metric(where, figures.in_progress)
            for status, durations in list(figures.answered.items()):
                total.add_metric((*where, str(status)), sum(durations.counts))
            for name, durations in figures.by_class().items():
                seconds.add_metric((*where, name), durations.buckets(), durations.total)
        yield from (total, seconds, busy)


class SocketMetrics:
    """``weir_websockets_open`` and ``weir_websockets_total``, by route. They are no requests here: one may stay
    for hours, and how long it did tells of nothing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("weir_websockets_open", "WebSockets that are open.", ("route",), registry=registry)
        self._total = Counter(
            "weir_websockets",
            "WebSockets asked for: taken to their route, or refused before it.",
            ("route", "outcome"),
            registry=registry,
        )

    def refused(self, route: str) -> None:
        """One is not opened."""
        self._total.labels(route, "refused").inc()

    @contextmanager
    def one(self, route: str) -> Iterator[None]:
        """A socket with its route, until the end of the block."""
        self._total.labels(route, "taken").inc()
        with self._open.labels(route).track_inprogress():
            yield
