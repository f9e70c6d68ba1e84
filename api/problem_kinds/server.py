"""Codes of what fails on this side."""

from collections.abc import Mapping
from typing import Final

from api.problem_kinds.kind import Kind, kind, soon

SERVER: Final[Mapping[str, Kind]] = {
    "internal": kind(
        500,
        "Internal error",
        "Something went wrong on this side. The request id finds it in the logs.",
        "The server has a fault that nobody foresaw.",
        "Tell the operators the request id. Repeating a write under its `Idempotency-Key` does nothing twice.",
    ),
    "outcome-unknown": soon(
        503,
        "Outcome unknown",
        "The answer to the commit was lost. Repeat the request with the same Idempotency-Key to learn what happened.",
        "The database went away just when the write was to be confirmed: it may or may not be stored.",
        "Repeat the request with the same `Idempotency-Key`: it is carried out once, and you get its true answer.",
    ),
    "not-yet-visible": soon(
        503,
        "Not yet visible",
        "The write has not reached this read model yet.",
        "A read carries a `Consistency-Token`, and what it stands for was not there within the wait.",
        "Ask again after `Retry-After`, or wait longer at once with `Prefer: wait=<seconds>`, at most 10.",
    ),
    "unavailable": soon(
        503,
        "Unavailable",
        "A server that this needs does not answer. Nothing was stored.",
        "Postgres, or another server that the request needs, cannot be reached or takes too long.",
        "Send it again after `Retry-After`.",
    ),
    "streams-full": soon(
        503,
        "Streams full",
        "This server has as many event streams open as it can.",
        "As many streams of events are open at this server, of all accounts together, as it has room for.",
        "Ask again after `Retry-After`: another server may have room, or this one by then.",
    ),
    "too-busy": soon(
        503,
        "Too busy",
        "Too many writers at once. Nothing was stored.",
        "So many write to the same thing, or to the whole shop, that this request had no turn.",
        "Send it again after `Retry-After`, a little later each time.",
    ),
}
