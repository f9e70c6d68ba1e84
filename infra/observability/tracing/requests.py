"""The span of an HTTP request, named by its method and the route's template, as OpenTelemetry's conventions have it."""

from typing import Final

from infra.observability.tracing import Span, SpanKind, begin_span

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


def begin_request(method: str, route: str, traceparent: str | None, request_id: str) -> Span:
    """Begins it, as a part of the client's trace where the client has one."""
    known = method if method in METHODS else "_OTHER"
    return begin_span(
        f"{known} {route}",
        kind=SpanKind.SERVER,
        parent=traceparent,
        about={"http.request.method": known, "http.route": route, "weir.correlation_id": request_id},
    )


def end_request(span: Span, status: int, account: str | None) -> None:
    """Ends it. What the client did wrong is no error of the server's."""
    span.note({"http.response.status_code": status, "weir.account_id": account})
    span.end(str(status) if status >= 500 else None)
