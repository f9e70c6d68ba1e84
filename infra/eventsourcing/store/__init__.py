"""The write side of the log.

::

    AppendRequest ──▶ Appender.append ──┐  collected while the batch before is in flight
    AppendRequest ──▶ Appender.append ──┼──▶ one call of append_columns(): one lock, one commit
    AppendRequest ──▶ Appender.append ──┘            │
                                                     ▼
                       Appended │ Conflict │ ClaimTaken │ AllowanceExceeded │ Replayed      one verdict per request
"""

from infra.eventsourcing.store.append_request import (
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
    Replayed,
    SharedPremises,
    StreamAppend,
    Verdict,
)
from infra.eventsourcing.store.appender import Appender
from infra.eventsourcing.store.batch import NO_LIMITS, Limits, exceeded
from infra.eventsourcing.store.states import Known, Settled, read_states
from infra.eventsourcing.store.stream_reader import position_of

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
    "Replayed",
    "Settled",
    "SharedPremises",
    "StreamAppend",
    "Verdict",
    "exceeded",
    "position_of",
    "read_states",
]
