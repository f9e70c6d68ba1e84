"""Metrics: a registry for one process, and its text form."""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from infra.observability.shared_metrics import all_told

METRICS_TYPE: Final = CONTENT_TYPE_LATEST.encode("ascii")


def new_registry() -> CollectorRegistry:
    """A registry with the process's own figures in it. Each process makes one and hands it to whoever counts."""
    disable_created_metrics()  # a second series for each, which Prometheus does not look at
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text form, with what the processes have counted that share its address.

    Its media type is ``METRICS_TYPE``.
    """
    return generate_latest(all_told(registry))
