"""Headers that stand in a head more than once: one list of all lines (RFC 9110, 5.3), or refused where one must count.

Which of two values counts, proxies and servers disagree about. So what decides something may stand there once.
"""

from collections.abc import Sequence
from typing import Final

from api.http.request_context import malformed_header

SINGLE: Final = frozenset(
    {
        b"access-control-request-method",
        b"authorization",
        b"consistency-token",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"webhook-id",
        b"webhook-signature",
        b"webhook-timestamp",
        b"x-api-key",
    }
)
"""Each has one value. ``X-Request-ID`` and ``traceparent`` have one, too: two make a list that has not their form, and
so none, as for any other text that has not."""

Lines = Sequence[tuple[bytes, bytes]]


def by_name(lines: Lines) -> dict[bytes, bytes]:
    """Each header once."""
    headers = dict(lines)
    return headers if len(headers) == len(lines) else _combined(lines)


def _combined(lines: Lines) -> dict[bytes, bytes]:
    values: dict[bytes, list[bytes]] = {}
    for name, value in lines:
        values.setdefault(name, []).append(value)
    return {name: b", ".join(each) for name, each in values.items()}


def refuse_repeated(lines: Lines) -> None:
    """Raises :class:`~api.errors.Problem` ``malformed-header`` where one that is single comes twice."""
    names = [name for name, _ in lines]
    for name in filter(lambda each: names.count(each) > 1, SINGLE):
        raise malformed_header(name)
