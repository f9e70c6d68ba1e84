"""Metrics: a registry for one process, and its text form."""

from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

METRICS_TYPE: Final = CONTENT_TYPE_LATEST.encode("ascii")


def new_registry() -> CollectorRegistry:
    """A registry with the process's own figures in it. Each process makes one and hands it to whoever counts."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text form; its media type is ``METRICS_TYPE``."""
    return generate_latest(registry)
