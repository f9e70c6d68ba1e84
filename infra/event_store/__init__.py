"""The write side of the log.

::

    AppendRequest ──▶ Appender.append ──┐  collected while the batch before is in flight
    AppendRequest ──▶ Appender.append ──┼──▶ one call of append_to_log(): one lock, one commit
    AppendRequest ──▶ Appender.append ──┘            │
                                                     ▼
                       Appended │ Conflict │ ClaimTaken │ AllowanceExceeded │ Replayed      one verdict per request
"""

from infra.event_store.appender import Appender
from infra.event_store.batch import NO_LIMITS, Limits
from infra.event_store.history import position_of
from infra.event_store.requests import (
    AllowanceChange,
    AllowanceExceeded,
    Appended,
    AppendRequest,
    ClaimChange,
    ClaimTaken,
    Conflict,
    IdempotencyKey,
    Last,
    Limit,
    Part,
    Replayed,
    Verdict,
)
from infra.event_store.states import Known, Settled, read_states

__all__ = [
    "NO_LIMITS",
    "AllowanceChange",
    "AllowanceExceeded",
    "AppendRequest",
    "Appended",
    "Appender",
    "ClaimChange",
    "ClaimTaken",
    "Conflict",
    "IdempotencyKey",
    "Known",
    "Last",
    "Limit",
    "Limits",
    "Part",
    "Replayed",
    "Settled",
    "Verdict",
    "position_of",
    "read_states",
]
