"""Logs: every line of the process, structlog's and the standard library's, redacted, with what it belongs to."""

import logging
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from infra.observability import tracing
from infra.observability.error_reports import report
from infra.observability.log_rendering import (
    Render,
    console_line,
    error_of,
    json_line,
    timestamp,
    traceback_text,
    wants_colours,
)
from infra.observability.log_writer import LogWriter
from infra.observability.origin import origin_fields
from infra.observability.redaction import Redactor, secrets_of
from infra.settings import Settings

TALKATIVE: Final = ("arq", "httpx2", "httpcore2", "PIL")
"""Libraries with a line or more for each job, call or chunk of a stranger's picture: heard from a warning up."""
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@contextmanager
def logging_to(settings: Settings, descriptor: int = 1, turns: Path | None = None) -> Iterator[LogWriter]:
    """Send every log line of the process, structlog's and the standard library's, to ``descriptor`` until the end.

    ``turns``: the file whose lock is to be had before anything is written, where several processes write to the same
    descriptor. A pipe would mix their lines (it keeps 4 KiB together, and no more), so each also says whose it is.
    """
    writer = LogWriter(descriptor, turns)
    writer.start()
    level = level_of(settings)
    lines = _Lines(writer, rendering(settings, writer), redactor_of(settings))
    root = logging.getLogger()
    handlers, configured = root.handlers[:], structlog.get_config()
    levels = {name: logging.getLogger(name).level for name in (root.name, *TALKATIVE)}
    root.handlers = [_StandardHandler(lines)]
    for name in levels:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if name in TALKATIVE else level)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, lines.emit],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield writer
    finally:
        root.handlers = handlers
        for name, found in levels.items():
            logging.getLogger(name).setLevel(found)
        structlog.configure(**configured)
        writer.close()


def level_of(settings: Settings) -> int:
    """The least level that is written, in the standard library's numbers."""
    return _LEVELS[settings.log_level]


def rendering(settings: Settings, writer: LogWriter) -> Render:
    """For machines or for people, as the settings have it; if they leave it open, for whoever is at the other end."""
    people = settings.log_format == "console" or (settings.log_format == "auto" and writer.terminal)
    return writer.naming(partial(console_line, colours=wants_colours(writer.terminal)) if people else json_line)


def redactor_of(settings: Settings) -> Redactor:
    """What hides the secrets in the settings beside all that looks like one."""
    return Redactor(secrets_of(settings))


class _Lines:
    """Makes a line of an event, the same whoever logs it, and hands it to the writer."""

    def __init__(self, writer: LogWriter, render: Render, redactor: Redactor) -> None:
        self._writer, self._render, self._redactor = writer, render, redactor

    def emit(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        """structlog's last processor."""
        self.put("error" if method == "exception" else method, event)
        raise structlog.DropEvent

    def put(self, level: str, event: MutableMapping[str, Any]) -> None:
        """What is an error is written before this returns."""
        error = event.pop("exc_info", None)
        told = self._told(level, event, error)
        line = self._render(told)
        if _LEVELS[level] < logging.ERROR:
            self._writer.line(line)
            return
        self._writer.urgent(line)
        report(told, error_of(error))

    def _told(self, level: str, event: MutableMapping[str, Any], error: Any) -> Mapping[str, Any]:
        """Time, level and event first, then what it belongs to, the rest, and the traceback if there is one."""
        told: dict[str, Any] = {"time": timestamp(time.time()), "level": level}
        told["event"] = self._redactor.text(str(event.pop("event", "")))
        told.update({**origin_fields(), **tracing.log_fields()})
        told.update(self._redactor.fields(event))
        if error:
            told["traceback"] = self._redactor.text(traceback_text(error_of(error)))
        return told


class _StandardHandler(logging.Handler):
    """The standard library's records (uvicorn's, asyncpg's) in the same form through the same writer."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a line that cannot be rendered is the standard library's to report."""
        try:
            event = {"event": record.getMessage(), "logger": record.name, "exc_info": record.exc_info}
            self._lines.put(_level_name(record.levelno), event)
        except Exception:
            self.handleError(record)


def _level_name(number: int) -> str:
    """The next lower of ours: a library may have levels of its own."""
    return next((name for name, ours in reversed(_LEVELS.items()) if ours <= number), "debug")
