"""Figures of the consumers in one process."""

from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from infra.observability.per_registry import per_registry

_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.05, 0.1, 0.5, 1, 5, 30)


class RuntimeMetrics:
    """What was applied, how late, and what went wrong."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ("consumer",)
        self.applied = Counter("weir_events_applied", "Events applied.", by, registry=registry)
        self.batches = Counter("weir_apply_batches", "Steps that moved a checkpoint.", by, registry=registry)
        self.delay = Histogram(
            "weir_apply_delay_seconds",
            "From the append of the oldest event of a batch to the batch's commit.",
            by,
            buckets=_SECONDS,
            registry=registry,
        )
        self.from_postgres = Counter(
            "weir_events_from_postgres", "Events that no stream had brought.", by, registry=registry
        )
        self.lag = Gauge(
            "weir_projection_lag_events",
            "How far the log has gone on beyond the shard that is furthest behind, whoever owns it.",
            ("projection",),
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "weir_projection_lag_seconds",
            "Since when the read model is not known to be complete. It grows while Postgres cannot be asked.",
            ("projection",),
            registry=registry,
        )
        self.owned = Gauge("weir_shards_owned", "Leases held by this process.", by, registry=registry)
        self.fenced = Counter("weir_leases_fenced", "Leases found lost to another owner.", by, registry=registry)
        self.strange = Counter(
            "weir_steps_of_another_log", "Steps whose events the streams had, and the log not.", by, registry=registry
        )
        self.spoiled = Counter(
            "weir_checkpoints_spoiled", "Checkpoints whose last event the log no longer holds.", by, registry=registry
        )
        self.parked = Counter("weir_streams_parked", "Streams set aside by a poison event.", by, registry=registry)
        self.unknown = Counter(
            "weir_streams_held", "Streams held because only a newer release knows an event.", by, registry=registry
        )
        self._by_consumer: dict[str, ConsumerMetrics] = {}

    def of(self, consumer: str) -> "ConsumerMetrics":
        """The figures of one consumer."""
        if consumer not in self._by_consumer:
            self._by_consumer[consumer] = ConsumerMetrics(self, consumer)
        return self._by_consumer[consumer]


class ConsumerMetrics:
    """One consumer's figures, looked up once."""

    def __init__(self, metrics: RuntimeMetrics, consumer: str) -> None:
        self.applied = metrics.applied.labels(consumer)
        self.batches = metrics.batches.labels(consumer)
        self.delay = metrics.delay.labels(consumer)
        self.from_postgres = metrics.from_postgres.labels(consumer)
        self.lag = metrics.lag.labels(consumer)
        self.owned = metrics.owned.labels(consumer)
        self.fenced = metrics.fenced.labels(consumer)
        self.strange = metrics.strange.labels(consumer)
        self.spoiled = metrics.spoiled.labels(consumer)
        self.parked = metrics.parked.labels(consumer)
        self.unknown = metrics.unknown.labels(consumer)
        self._complete = monotonic()
        metrics.lag_seconds.labels(consumer).set_function(lambda: monotonic() - self._complete)

    def lags(self, events: int, seconds: float) -> None:
        """Takes down what Postgres has just said: so many events behind, the oldest so many seconds old."""
        self.lag.set(events)
        self._complete = monotonic() - seconds


runtime_metrics: Final = per_registry(RuntimeMetrics)
