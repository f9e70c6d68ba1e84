"""The metrics of what was observed last: told by the process that observes, and only while that was not long ago."""

from collections.abc import Iterator, Mapping
from time import monotonic, time
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.postgres.server_figures import ServerFigures
from workers.observation.figures import Standing

LONGEST_SECONDS: Final = 120.0
"""What was seen longer ago than this is told no more: somebody else may observe by now, and an alert says if not."""


class ObservedMetrics(Collector):
    """Gauges of ``standing`` and ``server`` as they were seen, and when."""

    def __init__(self, registry: CollectorRegistry, *, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._standing: Standing | None = None
        self._server: ServerFigures | None = None
        self._seen = 0.0
        self._longest_seconds = longest_seconds
        self._at = 0.0
        registry.register(self)

    def saw(self, standing: Standing, server: ServerFigures) -> None:
        """Takes down what is seen now."""
        self._standing, self._server = standing, server
        self._seen, self._at = monotonic(), time()

    def forget(self) -> None:
        """Another process observes: two would tell two different things."""
        self._standing = self._server = None

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at each scrape."""
        if self._standing is None or self._server is None or monotonic() - self._seen > self._longest_seconds:
            return
        yield _one("weir_observed_timestamp_seconds", "When these figures were seen.", self._at)
        yield from _of_the_work(self._standing)
        yield from _of_the_server(self._server)


def _of_the_work(seen: Standing) -> Iterator[Metric]:
    yield _one("weir_log_position", "The last position of the log.", seen.position)
    due = {name: work.rows for name, work in seen.due.items()}
    late = {name: work.seconds for name, work in seen.due.items()}
    yield _by("weir_due_work", "Pieces that are due and nobody's, 500 at most.", "work", due)
    yield _by("weir_due_work_late_seconds", "How long ago the first of them became due.", "work", late)
    yield _by("weir_outbox_oldest_seconds", "Age of the oldest that is owed, tried or not.", "outbox", seen.oldest)
    yield _by("weir_outbox_given_up", "Rows that nobody will try again by itself.", "outbox", seen.given_up)
    yield _one("weir_webhooks_paused", "Subscribers left alone after failures.", seen.webhooks_paused)
    yield _by("weir_parked_streams", "Streams that a poison event has set aside.", "consumer", seen.parked)
    yield _by("weir_held_streams", "Streams that wait for a newer release.", "consumer", seen.held)
    if seen.key_age is not None:
        yield _one("weir_signing_key_age_seconds", "For how long the newest key has signed tokens.", seen.key_age)


def _of_the_server(seen: ServerFigures) -> Iterator[Metric]:
    yield _one("weir_database_size_bytes", "The database on the disk.", seen.size)
    yield _one("weir_database_xid_age", "Transactions since the oldest row was frozen.", seen.xid_age)
    yield _one("weir_database_connections_limit", "How many connections there may be.", seen.most_connections)
    yield _by("weir_database_connections", "Connections to the database, but this one.", "state", seen.connections)
    yield _one("weir_database_longest_query_seconds", "Since when the longest query runs.", seen.query)
    yield _one("weir_database_longest_transaction_seconds", "Since when the longest is open.", seen.transaction)
    tables = seen.tables
    yield _by("weir_database_table_size_bytes", "With indexes.", "table", {each.name: each.size for each in tables})
    yield _by("weir_database_live_rows", "Rows, about.", "table", {each.name: each.live for each in tables})
    yield _by("weir_database_dead_rows", "Rows to clean up.", "table", {each.name: each.dead for each in tables})
    bytes_behind = {each.name: each.behind_bytes for each in seen.replicas}
    seconds_behind = {each.name: each.behind_seconds for each in seen.replicas}
    yield _by("weir_database_replication_lag_bytes", "What a replica lacks.", "replica", bytes_behind)
    yield _by("weir_database_replication_lag_seconds", "How late a replica is.", "replica", seconds_behind)
    yield _by("weir_database_replication_slot_bytes", "What a slot keeps of the log.", "slot", seen.slots)


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for each, value in values.items():
        family.add_metric((each,), value)
    return family
