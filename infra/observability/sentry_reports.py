"""Reports to a Sentry; from the extra ``weir[sentry]``, and imported only where a DSN is set.

Nothing of the SDK's own is switched on: no integration, and so no request; no breadcrumb, no session, no trace, and no
data of persons (``send_default_pii`` is off unless it is set). It is a queue of bounded length with a thread behind it,
and whatever it would send goes through the same list as the log.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final, cast

import sentry_sdk
from pydantic import SecretStr
from sentry_sdk.types import Event, Hint

from infra.observability.redaction import Redactor

CLOSE_SECONDS: Final = 2.0
"""How long the last reports are waited for."""
TAGS: Final = ("correlation_id", "request_id", "causation_id", "account_id", "trace_id", "logger", "consumer", "code")
"""What reports can be found by."""
_LEFT: Final = ("time", "level", "event", "traceback")


class SentryReporter:
    """Sends what it is told to the project of the DSN."""

    def __init__(self, dsn: SecretStr, *, environment: str, process: str, redactor: Redactor) -> None:
        self._redactor = redactor
        sentry_sdk.init(
            dsn.get_secret_value(),
            environment=environment,
            release=f"weir@{version('weir')}",
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            propagate_traces=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
            enable_metrics=False,
            before_send=self._scrubbed,
        )
        self._process = process

    def report(self, line: Mapping[str, Any], error: BaseException | None) -> None:
        """As :class:`~infra.observability.error_reports.Reporter` says."""
        told = {
            "level": line["level"],
            "tags": {"process": self._process, **{name: str(line[name]) for name in TAGS if name in line}},
            "extras": {name: value for name, value in line.items() if name not in (*TAGS, *_LEFT)},
        }
        if error is None:
            sentry_sdk.capture_message(str(line["event"]), **told)
        else:
            sentry_sdk.capture_exception(error, **{**told, "extras": {"line": line["event"], **told["extras"]}})

    def close(self) -> None:
        """Sends the rest, but waits for nobody for long."""
        sentry_sdk.get_client().close(timeout=CLOSE_SECONDS)
        sentry_sdk.get_global_scope().set_client(None)

    def _scrubbed(self, event: Event, _hint: Hint) -> Event:
        """The last word on what leaves: texts of errors, lines of code, names of servers."""
        return cast(Event, self._redactor.fields(event))
