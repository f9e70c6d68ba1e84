"""Metrics of the command handler: decisions, and races lost."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector


class Races:
    """What commands cost in one process: decisions made, those that lost a race and were made again, turns taken."""

    __slots__ = ("decided", "lost", "turns")

    def __init__(self) -> None:
        self.decided = 0
        self.lost = 0
        self.turns = 0


class RaceMetrics(Collector):
    """``weir_command_decisions_total``, ``weir_command_conflicts_total`` and ``weir_command_turns_total``."""

    def __init__(self, registry: CollectorRegistry, races: Races) -> None:
        self._races = races
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        races = self._races
        yield CounterMetricFamily("weir_command_decisions", "Decisions on commands.", value=races.decided)
        yield CounterMetricFamily("weir_command_conflicts", "Decisions that were made in vain.", value=races.lost)
        yield CounterMetricFamily("weir_command_turns", "Turns taken on contested streams.", value=races.turns)
