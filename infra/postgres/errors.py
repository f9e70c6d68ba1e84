"""The classification of what Postgres and its driver answer instead of a result: the one table that every path asks.

::

    classify(error) ─▶ None     the statement or the program is at fault: nothing about the server
                    └▶ Failure  the server is away or refuses
                         stored="no"     nothing of the statement was kept         ─▶ Unavailable
                         stored="maybe"  the line broke, and it may have been      ─▶ OutcomeUnknown, where it writes
                         drop_connection the connection is of no more use

Of SQLSTATEs the first two characters are the class (PostgreSQL manual, appendix A). An ``ERROR`` means that the
transaction was rolled back; only a session that is being ended can have committed before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import asyncpg

from infra.errors import AWAY, OutcomeUnknown, Unavailable
from infra.host.exhaustion import is_exhaustion
from infra.observability.redaction import QUOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A server that did not do what it was asked. ``stored``: whether a statement that writes may be committed."""

    stored: Literal["no", "maybe"]
    drop_connection: bool


REFUSED: Final = Failure(stored="no", drop_connection=False)
"""Not now; the same connection may be asked again."""
ENDED: Final = Failure(stored="no", drop_connection=True)
"""Not on this connection: it is ended, or leads to a server that will not."""
LOST: Final = Failure(stored="maybe", drop_connection=True)
"""The line broke, or nobody answered in time."""
EXHAUSTED: Final = Failure(stored="maybe", drop_connection=True)
"""This process or its machine is out of something, perhaps in the middle of an answer. The server is not at fault."""

PASSING: Final = (*AWAY, TimeoutError, MemoryError, asyncpg.PostgresError)
"""What says nothing about the work itself, for those who look again, or put it off: what was stored stays so."""


def is_passing(error: Exception) -> bool:
    """Whether the error is one of these, or tells of exhaustion, for which Python has no type."""
    return isinstance(error, PASSING) or is_exhaustion(error)


LONGEST_ERROR: Final = 2000

OUT_OF_IT: Final = "this machine or process has run out of something"

OVER_TIME: Final = "57014"
"""A statement was ended by its timeout."""

CLASSES: Final[Mapping[str, Failure]] = {
    "08": LOST,  # connection exception; PgBouncer says 08P01 for all that is wrong with it
    "25": ENDED,  # invalid transaction state: a read-only server or standby, or a session in a state of its own
    "28": ENDED,  # invalid authorization
    "40": REFUSED,  # transaction rollback: serialization, deadlock
    "53": REFUSED,  # insufficient resources
    "55": REFUSED,  # object not in prerequisite state: a lock that is not to be had
    "57": LOST,  # operator intervention: a shutdown may come between a commit and its answer
    "58": ENDED,  # system error
}
STATES: Final[Mapping[str, Failure]] = {
    "25P04": LOST,  # transaction timeout: it may have come about in the middle of the commit
    "40003": LOST,  # statement completion unknown
    "42501": REFUSED,  # insufficient privilege: of a class that is the statement's, but it is the server that will not
    OVER_TIME: REFUSED,  # query canceled: by a timeout, and rolled back
    "57P03": ENDED,  # cannot connect now
    "57P05": ENDED,  # idle session timeout: it was not doing anything
}
"""Those that are not like the rest of their class, which may be of no use here."""

REFUSALS: Final = frozenset({"22", "54"})
"""Classes of what is refused for the values that were given: data exceptions, and limits of what can be worked on."""

_ENDING: Final = frozenset({"FATAL", "PANIC"})


def classify(error: BaseException, *, lost: bool = False) -> Failure | None:
    """What the error says of the server; None where it says nothing: a bad statement or argument, a refused value.

    ``lost``: the connection is known to be closed. Only then does the driver's complaint about how it is used mean the
    line and not the program.
    """
    if is_exhaustion(error):
        return EXHAUSTED
    match error:
        case asyncpg.PostgresError():
            return _by_state(error)
        case asyncpg.TargetServerAttributeNotMatched():
            return ENDED
        case OSError() | asyncpg.ProtocolError():  # TimeoutError is an OSError
            return LOST
        case asyncpg.InterfaceError() if lost and not isinstance(error, ValueError):
            return ENDED  # it was closed before anything was sent
        case asyncpg.InternalClientError() if lost:
            return LOST
    return None


def refuses_values(error: asyncpg.PostgresError) -> bool:
    """Whether the statement is right, and what it was given is at fault."""
    return (error.sqlstate or "")[:2] in REFUSALS


def storable(error: str) -> str:
    """An error's text as a row can keep it: bounded, without NUL, which Postgres has in no text, and without the values
    of another row, which would outlive it here."""
    return QUOTED.form.sub(QUOTED.instead, error).replace("\0", "\\0")[:LONGEST_ERROR]


def _by_state(error: asyncpg.PostgresError) -> Failure | None:
    state = error.sqlstate or ""
    failure = STATES.get(state) or CLASSES.get(state[:2])
    if getattr(error, "severity_en", None) not in _ENDING:
        return failure
    # The session is over, whatever the code is.
    return ENDED if failure is not None and failure.stored == "no" else LOST


def told(failure: Failure, error: BaseException, *, writes: bool) -> Unavailable | OutcomeUnknown:
    """The failure of a statement as the rest of the house knows it."""
    if writes and failure.stored == "maybe":
        return OutcomeUnknown("the answer to a commit was lost")
    return Unavailable(out_of(error) if failure is EXHAUSTED else "Postgres cannot be reached")


def out_of(error: BaseException) -> str:
    """What there was no more of, as the system has told."""
    return f"{OUT_OF_IT}: {str(error) or type(error).__name__}"
