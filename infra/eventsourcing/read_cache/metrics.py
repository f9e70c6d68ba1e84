"""The read side's figures, read off when they are scraped."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.eventsourcing.read_cache.read_replica import Outcome, ReadReplica

if TYPE_CHECKING:
    from infra.eventsourcing.read_cache.read_side import Reads


class ReadMetrics(Collector):
    """``weir_reads_total`` by projection and source, and whether the caches and their news can be relied on."""

    def __init__(self, registry: CollectorRegistry, reads: "Reads") -> None:
        self._reads = reads
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        reads = self._reads
        total = CounterMetricFamily(
            "weir_reads", "Documents served, by where they came from.", labels=("projection", "source")
        )
        kept = GaugeMetricFamily("weir_local_cache_documents", "Documents in this process.", labels=("projection",))
        late = GaugeMetricFamily(
            "weir_reads_past_caches",
            "1 while commits stay unannounced.",
            labels=("projection",),
        )
        for name, documents in reads.documents.items():
            tally = documents.tally
            for source, count in (("local", tally.local), ("redis", tally.remote), ("postgres", tally.stored)):
                total.add_metric((name, source), count)
            kept.add_metric((name,), len(documents.local))
            late.add_metric((name,), name in reads.watch.late)
        yield from (total, kept, late)
        if reads.replica is not None:
            yield from _of_replica(reads.replica)
        yield GaugeMetricFamily("weir_cache_up", "1 while Redis answers.", value=reads.remote.link.up)
        yield GaugeMetricFamily("weir_announcements_up", "1 while consumers are heard.", value=reads.channel.up)


def _of_replica(replica: ReadReplica) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "weir_replica_reads", "Reads that the replica was asked for, by what became of them.", labels=("outcome",)
    )
    for outcome, count in replica.outcomes.items():
        total.add_metric((str(outcome),), count)
    yield total
    yield GaugeMetricFamily(
        "weir_replica_up", "1 while reads go to the replica.", value=replica.standing is Outcome.SERVED
    )
    if replica.lag is not None:
        yield GaugeMetricFamily("weir_replica_lag_seconds", "How far the replica is behind.", value=replica.lag)
