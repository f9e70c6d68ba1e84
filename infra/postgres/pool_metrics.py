"""Metrics of the pools of one process, read off when they are scraped."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.observability.per_registry import per_registry
from infra.postgres.pool import Database


class PoolMetrics(Collector):
    """``weir_database_pool_*``, by the name of the pool."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pools: dict[str, Database] = {}
        registry.register(self)

    def watch(self, name: str, database: Database) -> None:
        """From now on tells of that pool."""
        self._pools[name] = database

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        by = ("pool",)
        connections = GaugeMetricFamily(
            "weir_database_pool_connections", "Connections that are open.", labels=(*by, "state")
        )
        most = GaugeMetricFamily("weir_database_pool_limit", "How many there may be.", labels=by)
        waiting = GaugeMetricFamily("weir_database_pool_waiting", "Who waits for one.", labels=by)
        refused = CounterMetricFamily("weir_database_pool_exhausted", "Who waited in vain.", labels=by)
        for name, database in self._pools.items():
            use = database.use
            connections.add_metric((name, "used"), use.used)
            connections.add_metric((name, "idle"), use.idle)
            most.add_metric((name,), use.most)
            waiting.add_metric((name,), use.waiting)
            refused.add_metric((name,), use.refused)
        yield from (connections, most, waiting, refused)


pool_metrics: Final = per_registry(PoolMetrics)
