"""Spans as they were recorded, kept in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra.observability.tracing import recorded_by
from infra.observability.tracing.opentelemetry_spans import OpenTelemetryTracer, provider_of


class Spans:
    """All that have ended."""

    def __init__(self, memory: InMemorySpanExporter) -> None:
        self._memory = memory

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        return self._memory.get_finished_spans()

    def of(self, trace_id: str) -> Sequence[ReadableSpan]:
        """Those of one trace."""
        return [span for span in self.ended if span.context and f"{span.context.trace_id:032x}" == trace_id]

    def named(self, name: str) -> ReadableSpan:
        """The first of that name."""
        return next(span for span in self.ended if span.name == name)


@contextmanager
def recorded_spans() -> Iterator[Spans]:
    """Has the spans of this process kept until the end."""
    provider, memory = provider_of(Resource({})), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    try:
        with recorded_by(OpenTelemetryTracer(provider)):
            yield Spans(memory)
    finally:
        provider.shutdown()


def id_of(span: ReadableSpan) -> int:
    """Which span it is."""
    assert span.context is not None
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int | None:
    """The span that it is a child of."""
    return None if span.parent is None else int(span.parent.span_id)
