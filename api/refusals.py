"""What the rules behind a route refuse: said where the route is declared, and told by the OpenAPI document.

What any route like it can answer (no credentials, no such id, a key that was used before) follows from what it is and
is not said again: :mod:`api.http.openapi.problems`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from api.problem_kinds import STATUS

F = TypeVar("F", bound=Callable[..., Any])


def refuses(*codes: str) -> Callable[[F], F]:
    """Mark an endpoint as one that may answer with these problems."""
    for code in codes:
        STATUS[code]  # one that nobody knows would be told to clients

    def mark(endpoint: F) -> F:
        endpoint.__dict__["refusals"] = codes
        return endpoint

    return mark


def refusals_of(endpoint: Any) -> tuple[str, ...]:
    """The codes that the endpoint is marked with."""
    codes: tuple[str, ...] = getattr(endpoint, "refusals", ())
    return codes
