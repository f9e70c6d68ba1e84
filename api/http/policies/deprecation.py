"""Deprecation of routes: since when each is deprecated, how long it stays, and where that is explained.

Said once, where the route is declared. Each of its answers then says it, whoever gives it: the endpoint, the memory of
hot reads, a refusal; and so does the OpenAPI document. `docs/versioning.md` has the rules behind the dates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any, TypeVar

from api.http.response import Headers

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """What is said of a deprecated route. ``link`` is the address of a page that says what to use instead."""

    since: date
    sunset: date
    link: str

    @property
    def headers(self) -> Headers:
        """`Deprecation` (RFC 9745), `Sunset` (RFC 8594), and the link between them and the page."""
        return [
            (b"deprecation", b"@%d" % _midnight(self.since).timestamp()),
            (b"sunset", format_datetime(_midnight(self.sunset), usegmt=True).encode("ascii")),
            (b"link", f'<{self.link}>; rel="deprecation"; type="text/html"'.encode("ascii")),
        ]


def deprecated(*, since: date, sunset: date, link: str) -> Callable[[F], F]:
    """Mark an endpoint as deprecated ``since`` a day, and as one that stays until ``sunset`` at least.

    Raises ValueError for a route that would have gone before anybody was told (RFC 9745, section 4).
    """
    if sunset <= since:
        raise ValueError(f"a route that is deprecated since {since} cannot have gone by {sunset}")
    deprecation = Deprecation(since=since, sunset=sunset, link=link)

    def mark(endpoint: F) -> F:
        endpoint.__dict__["deprecation"] = deprecation
        return endpoint

    return mark


def deprecation_of(endpoint: Any) -> Deprecation | None:
    """That which the endpoint is marked with, if it is."""
    return getattr(endpoint, "deprecation", None)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
