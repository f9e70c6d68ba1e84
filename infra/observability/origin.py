"""The origin of what a process does: the request that it follows from, what directly caused it, in whose name.

One variable says it, bound where work comes in: by the edge for a request, by the claim loop for a piece of due work,
by arq for a job, and by whoever logs about one event of a batch. Log lines, traces and error reports read it there.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Origin(Protocol):
    """Something that a line may belong to. It is asked when the line is made: what is not known yet may be by then."""

    def log_fields(self) -> Mapping[str, str]:
        """``request_id``, ``correlation_id``, ``causation_id`` and ``account_id``, those that are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The origin of what a request does itself: what it leads to elsewhere is correlated by its id."""

    request_id: str
    account: str | None = None

    def log_fields(self) -> Mapping[str, str]:
        """As :class:`Origin` says."""
        fields = {"request_id": self.request_id, "correlation_id": self.request_id}
        return fields if self.account is None else {**fields, "account_id": self.account}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The origin of work that a request has left behind.

    ``correlation`` is the request's id; ``causation`` names what directly led here (``event:4711``, ``refund:…``);
    ``account`` is whose request it was; ``traceparent`` is where its trace goes on (W3C Trace Context).
    """

    correlation: str | None = None
    causation: str | None = None
    account: str | None = None
    traceparent: str | None = None

    @classmethod
    def of_event(cls, metadata: Mapping[str, Any], position: int) -> "Cause":
        """What an event makes to be done. Its actor is an account, or has a name of its own."""
        actor = metadata.get("actor")
        return cls(
            correlation=metadata.get("correlation"),
            causation=f"event:{position}",
            account=actor if actor and _UUID.fullmatch(actor) else None,
            traceparent=metadata.get("traceparent"),
        )

    def log_fields(self) -> Mapping[str, str]:
        """As :class:`Origin` says."""
        fields = {"correlation_id": self.correlation, "causation_id": self.causation, "account_id": self.account}
        return {name: value for name, value in fields.items() if value is not None}


UNKNOWN: Final = Cause()

_ORIGIN: Final[ContextVar[Origin]] = ContextVar("origin", default=UNKNOWN)


def begin(origin: Origin) -> None:
    """All that this task does from here on, and what it starts, has this origin."""
    _ORIGIN.set(origin)


@contextmanager
def arising_from(origin: Origin) -> Iterator[None]:
    """What is done within has this origin; for whoever turns from one thing to the next in one task."""
    token = _ORIGIN.set(origin)
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def nobodys() -> Context:
    """The context of a task that works for whoever comes: it has none of the origins that it serves, and so not that of
    the one in which it was begun."""
    return Context()


def origin_fields() -> Mapping[str, str]:
    """What a line that is made here and now belongs to."""
    return _ORIGIN.get().log_fields()
