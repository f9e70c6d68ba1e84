"""What the events of batches come of, for lines and spans; nobody pays for it who does not look."""

import logging
from collections.abc import Iterable, Sequence

import structlog

from infra.eventsourcing.consumers.consumer import Batch
from infra.eventsourcing.event_log import Entry
from infra.observability import tracing

_log = structlog.get_logger("weir.driver")


def correlations(entries: Iterable[Entry]) -> list[str]:
    """The requests that the events come of, each once."""
    return [*dict.fromkeys(filter(None, (entry.cause.correlation for entry in entries)))]


def tell_applied(batches: Sequence[Batch]) -> None:
    """A line for each batch with the requests that its events come of, for whoever listens closely."""
    if not _log.is_enabled_for(logging.DEBUG):
        return
    for batch in batches:
        _log.debug(
            "applied",
            consumer=batch.lease.place.consumer,
            shard=batch.lease.shard,
            upto=batch.upto,
            events=len(batch.entries),
            correlation_ids=correlations(batch.entries),
        )


def traced(batches: Sequence[Batch]) -> tracing.Spanning:
    """The span of batches that are applied together."""
    if not tracing.is_on():
        return tracing.NOTHING
    entries = [entry for batch in batches for entry in batch.entries]
    consumers = ",".join(sorted({batch.lease.place.consumer for batch in batches}))
    about: tracing.About = {"weir.consumers": consumers, "weir.events": len(entries)}
    kind = tracing.SpanKind.CONSUMER
    return tracing.batch_span("apply", lambda: [each.cause.traceparent for each in entries], kind=kind, about=about)
