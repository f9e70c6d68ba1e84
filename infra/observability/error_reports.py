"""Reports of errors: each line at ``error`` or above, to whoever collects them; to nobody unless that is opened.

What is reported is the line as it was redacted, and its traceback without local variables: see :mod:`.sentry_reports`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final, Protocol

import structlog

from infra.observability.redaction import Redactor, secrets_of
from infra.settings import Settings

MOST_A_MINUTE: Final = 60
"""What goes wrong a thousand times is seen sixty times: each report costs the event loop a millisecond."""
SILENT: Final = ("sentry_sdk", "opentelemetry", "urllib3")
"""Whose own errors are not reported: they may be about the reports."""

_log = structlog.get_logger("weir.reports")


class Reporter(Protocol):
    """Takes reports without waiting for anybody."""

    def report(self, line: Mapping[str, Any], error: BaseException | None) -> None:
        """A line of the log, redacted, and the error that it tells of."""


class _Bounded:
    """A reporter that is told no more than so much a minute."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._minute = 0
        self._told = 0

    def report(self, line: Mapping[str, Any], error: BaseException | None) -> None:
        now = int(monotonic() // 60)
        if now != self._minute:
            self._minute, self._told = now, 0
        self._told += 1
        if self._told <= MOST_A_MINUTE:
            self._reporter.report(line, error)


_bounded: _Bounded | None = None


def report(line: Mapping[str, Any], error: BaseException | None) -> None:
    """Reports an error, if anybody wants to know."""
    if _bounded is not None and str(line.get("logger", "")).partition(".")[0] not in SILENT:
        _bounded.report(line, error)


@contextmanager
def reporting(settings: Settings, process: str) -> Iterator[None]:
    """Reports the errors of the process until the end, if the settings say where to."""
    global _bounded
    if settings.sentry_dsn is None:
        yield
    elif find_spec("sentry_sdk") is None:
        _log.warning("errors are to be reported and cannot be", missing="the extra weir[sentry]")
        yield
    else:
        from infra.observability.sentry_reports import SentryReporter

        reporter = SentryReporter(
            settings.sentry_dsn,
            environment=settings.environment,
            process=process,
            redactor=Redactor(secrets_of(settings)),
        )
        before, _bounded = _bounded, _Bounded(reporter)
        try:
            yield
        finally:
            _bounded = before
            reporter.close()
