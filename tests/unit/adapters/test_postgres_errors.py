"""What every answer of Postgres and every complaint of the driver says of the server, as one table."""

import ssl
from errno import ENOSPC
from socket import gaierror

import asyncpg
import pytest

from api.errors import problem_of
from infra.errors import OutcomeUnknown, Unavailable
from infra.postgres.errors import (
    CLASSES,
    ENDED,
    EXHAUSTED,
    LOST,
    REFUSED,
    STATES,
    Failure,
    classify,
    refuses_values,
    storable,
    told,
)

STATED = {
    kind.sqlstate: kind
    for kind in vars(asyncpg).values()
    if isinstance(kind, type) and issubclass(kind, asyncpg.PostgresError) and kind.sqlstate
}
"""Every SQLSTATE that the driver knows."""
REFUSES_US = "42501"
"""Insufficient privilege: the one state of its class that is about the server."""
OF_THE_SERVER = sorted(
    state for state in STATED if state == REFUSES_US or state[:2] in {"08", "25", "28", "40", "53", "55", "57", "58"}
)


def raised(state: str, severity: str = "ERROR") -> asyncpg.PostgresError:
    """As the driver raises it."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "no", "V": severity})
    return error


@pytest.mark.parametrize("state", OF_THE_SERVER)
def test_every_state_that_is_about_the_server_is_told_as_one_and_never_as_an_error_of_ours(state: str) -> None:
    failure = classify(raised(state))
    assert failure is not None
    assert isinstance(told(failure, raised(state), writes=False), Unavailable)
    assert problem_of(raised(state)).kind.status == 503


def test_the_table_holds_the_classes_that_are_about_the_server_and_no_others() -> None:
    assert {state[:2] for state in OF_THE_SERVER} == CLASSES.keys() | {REFUSES_US[:2]}
    assert {state[:2] for state in STATES if state != REFUSES_US} <= CLASSES.keys()
    assert {state for state in STATED if state[:2] == REFUSES_US[:2] and classify(raised(state))} == {REFUSES_US}


@pytest.mark.parametrize(
    ("state", "failure"),
    [
        ("08000", LOST),  # connection exception
        ("08003", LOST),  # connection does not exist
        ("08006", LOST),  # connection failure
        ("08P01", LOST),  # protocol violation; and PgBouncer
        ("25006", ENDED),  # read only
        ("25P02", ENDED),  # in failed transaction
        ("25P03", ENDED),  # idle in transaction
        ("25P04", LOST),  # transaction timeout
        ("28000", ENDED),  # invalid authorization
        ("28P01", ENDED),  # invalid password
        ("40001", REFUSED),  # serialization
        ("40003", LOST),  # completion unknown
        ("40P01", REFUSED),  # deadlock
        ("42501", REFUSED),  # insufficient privilege
        ("53100", REFUSED),  # disk full
        ("53200", REFUSED),  # out of memory
        ("53300", REFUSED),  # too many connections
        ("55P03", REFUSED),  # lock not available
        ("57014", REFUSED),  # query canceled
        ("57P01", LOST),  # admin shutdown
        ("57P02", LOST),  # crash shutdown
        ("57P03", ENDED),  # cannot connect now
        ("57P05", ENDED),  # idle session
        ("58030", ENDED),  # I/O
        ("57ZZZ", LOST),  # a newer server's, of a class that is known
        ("23505", None),  # unique violation
        ("22P02", None),  # invalid text
        ("42P01", None),  # undefined table
        ("XX000", None),  # internal error
    ],
)
def test_a_state_says_whether_anything_may_be_stored_and_whether_the_connection_is_good(
    state: str, failure: Failure | None
) -> None:
    assert classify(raised(state)) == failure


@pytest.mark.parametrize("state", ["53300", "57P03", "28P01", "25P03", "42501"])
def test_a_session_that_is_ended_is_of_no_more_use_and_has_stored_nothing_where_the_state_says_so(state: str) -> None:
    assert classify(raised(state, "FATAL")) == ENDED


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        OSError(ENOSPC, "No space left on device"),
        MemoryError("!"),
    ],
    ids=repr,
)
def test_a_process_that_runs_out_of_something_while_it_waits_does_not_know_what_was_stored(error: Exception) -> None:
    assert classify(error) is EXHAUSTED
    assert isinstance(told(EXHAUSTED, error, writes=True), OutcomeUnknown)
    why = str(told(EXHAUSTED, error, writes=False))
    assert why.endswith(str(error) or "MemoryError")
    assert "Postgres" not in why


@pytest.mark.parametrize("state", ["57P01", "XX000", "42P01"])
@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
def test_a_session_that_is_ended_for_any_other_reason_may_have_committed(state: str, severity: str) -> None:
    assert classify(raised(state, severity)) == LOST


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        gaierror(),
        ssl.SSLError(),
        asyncpg.ProtocolError("unexpected"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    ],
)
def test_a_line_that_breaks_leaves_it_open_what_was_stored(error: Exception) -> None:
    assert classify(error) == LOST


MISUSE = [
    asyncpg.InterfaceError("pool is closing"),
    asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
    asyncpg.DataError("invalid input for query argument $1"),
    asyncpg.ClientConfigurationError("invalid DSN"),
    asyncpg.InternalClientError("no codec"),
    asyncpg.OutdatedSchemaCacheError("changed"),
    ValueError(),
    KeyError(),
]


@pytest.mark.parametrize("error", MISUSE, ids=repr)
def test_a_fault_of_the_program_is_no_outage(error: Exception) -> None:
    assert classify(error) is None
    assert problem_of(error).code == "internal"


def test_what_was_asked_of_a_connection_that_is_closed_was_never_sent() -> None:
    assert classify(asyncpg.InterfaceError("connection is closed"), lost=True) == ENDED
    assert classify(asyncpg.InternalClientError("confused"), lost=True) == LOST


def test_a_bad_argument_is_one_also_where_the_line_is_broken() -> None:
    assert classify(asyncpg.DataError("bad"), lost=True) is None


def test_a_host_without_a_server_that_takes_writes_has_stored_nothing() -> None:
    assert classify(asyncpg.TargetServerAttributeNotMatched("read-write")) == ENDED


@pytest.mark.parametrize(("failure", "kind"), [(REFUSED, Unavailable), (ENDED, Unavailable), (LOST, OutcomeUnknown)])
def test_only_who_writes_is_told_that_nobody_knows(failure: Failure, kind: type[Exception]) -> None:
    assert type(told(failure, OSError(), writes=True)) is kind
    assert type(told(failure, OSError(), writes=False)) is Unavailable


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("22P02", True),  # no such value
        ("22021", True),  # a character that is not in the encoding
        ("54000", True),  # program limit exceeded
        ("54001", True),  # statement too complex: the depth of the stack
        ("42601", False),  # a syntax error is ours
        ("42P01", False),  # no such table
        ("57014", False),  # query canceled
        ("XX000", False),  # an internal error
    ],
)
def test_values_are_refused_where_the_statement_is_right(state: str, refused: bool) -> None:
    assert refuses_values(raised(state)) is refused


def test_no_state_is_about_the_server_and_about_values_at_once() -> None:
    assert not [state for state in STATED if refuses_values(raised(state)) and classify(raised(state))]


@pytest.mark.parametrize(("error", "kept"), [("no\0", "no\\0"), ("x" * 3000, "x" * 2000), ("\0" * 2000, "\\0" * 1000)])
def test_a_text_that_a_row_keeps_is_bounded_and_has_no_nul(error: str, kept: str) -> None:
    assert storable(error) == kept


def test_what_is_kept_of_an_error_quotes_no_row() -> None:
    kept = storable("NotNullViolationError: null\nDETAIL:  Failing row contains (7, gracehopper, null).\nHINT:  none")
    assert kept == "NotNullViolationError: null\nDETAIL:  Failing row contains [hidden]\nHINT:  none"
