"""Traces, as the rest of Weir sees them: a few spans of its own, which cost nothing while nobody asks for them.

::

    request ─▶ command ─▶ append ··▶ append batch                 ─▶ child   ··▶ link
                  └─ traceparent in the event ─┬─▶ relay publish, apply       (by the events of the batch)
                                               └─▶ due post ─▶ smtp           (by the event of the row)

A batch that holds the events of one trace is part of it. One of several traces is a trace of its own with links to
them, and there is none where nobody records any of them. What records is :mod:`.opentelemetry_spans`, which nothing
imports unless it is asked for (:mod:`.opening`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import TracebackType
from typing import Final, Protocol, TypeAlias

from domain.kernel.refusals import Refusal
from infra.errors import NotFound, VersionMismatch

About: TypeAlias = Mapping[str, str | int | float | bool | None]
"""Attributes of a span: few, short, and no secrets."""

MOST_LINKS: Final = 64
"""Traces that a batch is linked to."""


class SpanKind(Enum):
    """What a span is to those of other processes."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Span(Protocol):
    """A span that has begun. ``traceparent`` is what its children name as their parent (W3C Trace Context)."""

    @property
    def traceparent(self) -> str | None: ...

    def note(self, about: "About") -> None:
        """Adds attributes; what is None is left out."""

    def end(self, error: str | None = None) -> None:
        """Ends it, as failed where an error is named by its class or status. Texts of errors are not told."""


class Tracer(Protocol):
    """What records spans."""

    def start(self, name: str, kind: SpanKind, parent: str | None, links: Sequence[str], about: "About") -> Span:
        """Begins a span; without a parent or a link it begins a trace. Names are few, whatever goes on."""


_UNSAID: Final[About] = {}
_tracer: Tracer | None = None
_CURRENT: Final[ContextVar[str | None]] = ContextVar("traceparent", default=None)


@contextmanager
def recorded_by(tracer: Tracer) -> Iterator[None]:
    """Has all spans of the process recorded until the end."""
    global _tracer
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before


def is_on() -> bool:
    """Whether anybody asks."""
    return _tracer is not None


def current() -> str | None:
    """The span that goes on here and now, as a traceparent."""
    return _CURRENT.get()


class _Nothing:
    """The span that there is not."""

    traceparent: str | None = None

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def note(self, _about: "About") -> None:
        """Nobody asks."""

    def end(self, _error: str | None = None) -> None:
        """Nothing to end."""


NOTHING: Final = _Nothing()


_ANSWERS: Final = (Refusal, NotFound, VersionMismatch)
"""A no is no failure."""


class _Block:
    """A span for as long as a block takes; what is begun within it is its child."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> Span:
        self._token = _CURRENT.set(self._span.traceparent)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        _CURRENT.reset(self._token)
        failed = kind is not None and not issubclass(kind, _ANSWERS)
        self._span.end(kind.__name__ if kind is not None and failed else None)


Spanning: TypeAlias = _Block | _Nothing


def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, about: About = _UNSAID
) -> Spanning:
    """A span around a block: of the ``parent``, or of what goes on here."""
    if _tracer is None:
        return NOTHING
    return _Block(_tracer.start(name, kind, parent or _CURRENT.get(), (), about))


def begin_span(name: str, *, kind: SpanKind, parent: str | None = None, about: About = _UNSAID) -> Span:
    """A span for all that this task does from here on; whoever begins it ends it."""
    if _tracer is None:
        return NOTHING
    begun = _tracer.start(name, kind, parent, (), about)
    _CURRENT.set(begun.traceparent)
    return begun


def batch_span(
    name: str, traceparents: Callable[[], Iterable[str | None]], *, kind: SpanKind, about: About = _UNSAID
) -> Spanning:
    """A span around work on a batch; ``traceparents`` says what its pieces come of, and is asked only if needed."""
    if _tracer is None:
        return NOTHING
    found = [*dict.fromkeys(each for each in traceparents() if each is not None and is_sampled(each))]
    if not found:
        return NOTHING
    first_of = dict(zip(map(trace_id, reversed(found)), reversed(found), strict=True))
    if len(first_of) == 1:
        return _Block(_tracer.start(name, kind, found[0], found[1:MOST_LINKS], about))
    links = [each for each in found if first_of[trace_id(each)] == each][:MOST_LINKS]
    return _Block(_tracer.start(name, kind, None, links, {**about, "weir.traces": len(first_of)}))


def is_sampled(traceparent: str) -> bool:
    """Whether its trace is recorded by those who came before."""
    return traceparent[-1] in "13579bdf"


def trace_id(traceparent: str) -> str:
    """Which trace."""
    return traceparent[3:35]


def log_fields() -> Mapping[str, str]:
    """What a log line says of the span that goes on here."""
    found = _CURRENT.get()
    return {} if found is None else {"trace_id": trace_id(found), "span_id": found[36:52]}
