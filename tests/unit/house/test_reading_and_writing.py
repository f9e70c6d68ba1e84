"""No statement that writes goes the way of those that read: there the loss of its answer would pass for an outage."""

import pytest

from infra.postgres.reader import only_read
from tests.support.database_calls import READING, WRITING, Call, calls

SENT = [call for call in calls() if call.method in READING]


@pytest.mark.parametrize("call", SENT, ids=lambda call: call.function)
def test_what_is_fetched_only_reads(call: Call) -> None:
    only_read(call.statement)


def test_the_calls_of_the_sources_are_found() -> None:
    assert {
        "infra.identity.credentials.find",
        "infra.identity.one_time_links.Links.find",
        "infra.identity.sessions.store.Sessions.is_live",
    } <= {call.function for call in SENT}
    assert {
        call.method for call in calls() if call.function == "infra.identity.sessions.store.Sessions.begin"
    } <= WRITING


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO leases VALUES (1)",
        "WITH a AS (UPDATE leases SET epoch = 1 RETURNING epoch) SELECT * FROM a",
        "update leases l set epoch = 1",
        "DELETE FROM leases",
        "LOCK TABLE leases IN SHARE MODE",
        "TRUNCATE leases",
    ],
)
def test_a_statement_that_writes_is_known(statement: str) -> None:
    with pytest.raises(ValueError, match="writes"):
        only_read(statement)


@pytest.mark.parametrize("statement", ["SELECT updated_at FROM leases FOR UPDATE OF leases", "SELECT 'created'"])
def test_a_statement_that_reads_is_not_taken_for_one(statement: str) -> None:
    assert only_read(statement) == statement
