"""What the events of a page come of, for a line and a span; nobody pays for it who does not look."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import structlog

from infra.eventsourcing.relay.page import Page
from infra.observability import tracing

_log = structlog.get_logger("weir.relay")


def metadata_of(page: Page) -> Iterator[Mapping[str, Any]]:
    """The metadata of each event. It is the last but one of an entry, and nothing within it looks like its name: JSON
    that Postgres writes has a blank behind each comma."""
    for row in page.rows:
        rest: bytes = row[2]
        begin, end = rest.rindex(b',"m":') + 5, rest.rindex(b',"r":')
        yield orjson.loads(rest[begin:end])


def traced(page: Page) -> tracing.Spanning:
    """The span of its publication."""
    if not tracing.is_on():
        return tracing.NOTHING
    return tracing.batch_span(
        "relay publish",
        lambda: [metadata.get("traceparent") for metadata in metadata_of(page)],
        kind=tracing.SpanKind.PRODUCER,
        about={"weir.events": len(page.rows)},
    )


def tell_published(page: Page) -> None:
    """A line with the requests that its events come of, for whoever listens closely."""
    if _log.is_enabled_for(logging.DEBUG):
        found = dict.fromkeys(filter(None, (metadata.get("correlation") for metadata in metadata_of(page))))
        _log.debug("published", upto=page.last, events=len(page.rows), correlation_ids=[*found])
