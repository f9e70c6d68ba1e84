"""The access log: one line for each request."""

import logging
import time
from typing import Any

from infra.observability.log_rendering import timestamp
from infra.observability.log_writer import LogWriter
from infra.observability.logging import level_of, redactor_of, rendering
from infra.settings import Settings


class AccessLog:
    """One line per request: what went wrong here at once, the rest soon. Rendering is left to the writer's thread."""

    def __init__(self, writer: LogWriter, settings: Settings) -> None:
        self._writer = writer
        self._render = rendering(settings, writer)
        self._redacted = redactor_of(settings).text
        self._quiet = level_of(settings) > logging.INFO

    def request(self, *row: Any) -> None:
        """``status, seconds, method, path, route, source, request id, notes``; never headers, queries or bodies."""
        if row[0] == 500:
            self._writer.urgent((self._line, (time.time(), row)))
        elif row[0] > 500 or not self._quiet:
            self._writer.line((self._line, (time.time(), row)))

    def _line(self, row: tuple[float, tuple[Any, ...]]) -> bytes:
        """Of all that is in it only the path is whatever a stranger writes."""
        now, (status, seconds, method, path, route, source, request_id, notes) = row
        event = {
            "time": timestamp(now),
            "level": "error" if status >= 500 else "info",
            "event": "request",
            "request_id": request_id,
            "correlation_id": request_id,
            "status": status,
            "ms": int(seconds * 1e6) / 1e3,
            "method": method,
            "path": self._redacted(path),
            "route": route,
            "source": source,
        }
        return self._render({**event, **notes} if notes else event)
