"""Whether a process records traces, and how they leave it: by OpenTelemetry's own variables of the environment.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``…_TRACES_ENDPOINT``) turns them on. They are sent by a thread behind a queue of
bounded length: an exporter that hangs, or is not there, costs spans and nothing else, also at the end.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import structlog

from infra.observability.tracing import recorded_by

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
CLOSE_SECONDS: Final = 2.0
"""How long the last spans are waited for."""

_log = structlog.get_logger("weir.tracing")


@contextmanager
def recorded(process: str, *, close_seconds: float = CLOSE_SECONDS) -> Iterator[None]:
    """Records the spans of the process until the end, if the environment asks for it."""
    if not _asked():
        yield
    elif not _installed():
        _log.warning("traces are asked for and cannot be recorded", missing="the extra weir[tracing]")
        yield
    else:
        with _exported(process, close_seconds):
            yield


def _asked() -> bool:
    told = os.environ.get
    off = told("OTEL_SDK_DISABLED", "").strip().lower() == "true" or told("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(map(told, ENDPOINTS))


def _installed() -> bool:
    """FastAPI brings the API of OpenTelemetry along, which records nothing."""
    try:
        return all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


@contextmanager
def _exported(process: str, close_seconds: float) -> Iterator[None]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from infra.observability.tracing.opentelemetry_spans import OpenTelemetryTracer, provider_of

    provider = provider_of(Resource.create(_named(process)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _log.info("traces are recorded", service=str(provider.resource.attributes["service.name"]))
    try:
        with recorded_by(OpenTelemetryTracer(provider)):
            yield
    finally:
        _close(provider, close_seconds)


def _named(process: str) -> dict[str, Any]:
    """What the environment says of the service counts; ``Resource.create`` would have ours count."""
    told = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {} if told else {"service.name": f"weir-{process}"}
    return {**named, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}", "weir.process": process}


def _close(provider: Any, seconds: float) -> None:
    """The SDK would wait for half a minute. Its thread does not keep the process."""
    closing = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
    closing.start()
    closing.join(seconds)
    if closing.is_alive():
        _log.warning("the last spans were not taken in time")
