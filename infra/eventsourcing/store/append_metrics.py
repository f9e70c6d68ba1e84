"""Metrics of appends: how many a batch brings, how long it takes, and what came of each."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.observability.distribution import Distribution
from infra.observability.per_registry import per_registry

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class AppendTally:
    """What came of the requests of some appenders. ``lost`` are those whose batch failed."""

    __slots__ = ("conflicts", "events", "lost", "refused", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.events = 0
        self.conflicts = 0
        self.refused = 0
        self.lost = 0


class AppendMetrics(Collector):
    """``weir_appends_total``, ``weir_appended_events_total``, and the histograms of batches.

    ``sizes`` are in requests, ``seconds`` from a batch's sending to its commit, or to its failure.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tally = AppendTally()
        self.sizes = Distribution(SIZES)
        self.seconds = Distribution(_SECONDS)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        tally = self.tally
        total = CounterMetricFamily("weir_appends", "Requests to append, by what came of them.", labels=("outcome",))
        outcomes = ("stored", "conflict", "refused", "failed")
        counts = (tally.stored, tally.conflicts, tally.refused, tally.lost)
        for outcome, count in zip(outcomes, counts, strict=True):
            total.add_metric((outcome,), count)
        yield total
        yield CounterMetricFamily("weir_appended_events", "Events stored.", value=tally.events)
        sizes, seconds = self.sizes, self.seconds
        yield HistogramMetricFamily("weir_append_batch_size", "Requests of a batch.", sizes.buckets(), sizes.total)
        yield HistogramMetricFamily(
            "weir_append_duration_seconds", "From a batch's sending to its commit.", seconds.buckets(), seconds.total
        )


append_metrics: Final = per_registry(AppendMetrics)
