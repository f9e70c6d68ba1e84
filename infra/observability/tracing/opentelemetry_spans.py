"""Spans by OpenTelemetry's SDK; from the extra ``weir[tracing]``, and imported only where traces are asked for."""

from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

from infra.observability.tracing import MOST_LINKS, About, Span, SpanKind, is_sampled

LIMITS: Final = SpanLimits(max_span_attributes=32, max_span_attribute_length=256, max_links=MOST_LINKS, max_events=0)
_KINDS: Final = {
    SpanKind.INTERNAL: trace.SpanKind.INTERNAL,
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.CLIENT: trace.SpanKind.CLIENT,
    SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
    SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
}


class Linked(Sampler):
    """A batch is recorded where any of the traces is that it is linked to: to those it is a part of the story."""

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: trace.SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As the SDK asks."""
        if any(link.context.trace_flags.sampled for link in links or ()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """As the SDK asks."""
        return f"Linked{{{self._inner.get_description()}}}"


def provider_of(resource: Resource) -> TracerProvider:
    """The SDK with the sampler that ``OTEL_TRACES_SAMPLER`` names, and with bounds."""
    named = TracerProvider(shutdown_on_exit=False).sampler
    return TracerProvider(Linked(named), resource, shutdown_on_exit=False, span_limits=LIMITS)


class OpenTelemetryTracer:
    """Records by a provider. The SDK's own notion of what is current has no part in it."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("weir")

    def start(self, name: str, kind: SpanKind, parent: str | None, links: Sequence[str], about: About) -> Span:
        """As :class:`~infra.observability.tracing.Tracer` says."""
        around = Context()
        if parent is not None:
            around = set_span_in_context(NonRecordingSpan(_context_of(parent)), around)
        linked = [Link(_context_of(each)) for each in links]
        begun = self._tracer.start_span(
            name,
            around,
            _KINDS[kind],
            _told(about),
            linked,
            record_exception=False,
            set_status_on_exception=False,
        )
        return _Recorded(begun)


class _Recorded:
    """A span of the SDK's."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        at = span.get_span_context()
        self.traceparent: str | None = f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags & 1:02x}"

    def note(self, about: About) -> None:
        """As :class:`~infra.observability.tracing.Span` says."""
        self._span.set_attributes(_told(about))

    def end(self, error: str | None = None) -> None:
        """As :class:`~infra.observability.tracing.Span` says."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _told(about: About) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in about.items() if value is not None}


def _context_of(traceparent: str) -> SpanContext:
    """Of one that is well formed: others are let in nowhere."""
    _, trace_id, span_id, _ = traceparent.split("-")
    flags = TraceFlags(TraceFlags.SAMPLED if is_sampled(traceparent) else TraceFlags.DEFAULT)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
