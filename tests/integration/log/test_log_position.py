"""The last position of the log: read from its events, never given out twice, and no row that all appends change."""

from typing import Final
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from infra.errors import Unavailable
from infra.eventsourcing.event_log import log_head
from infra.eventsourcing.store import Appended, Conflict
from tests.support.log_checks import violations, whole_log
from tests.support.write_side import HAPPENED, WriteSide, connected, idempotency, part, request, take, write_side

pytestmark = pytest.mark.anyio


async def test_an_append_changes_no_row_that_another_has_to_change(ours: WriteSide, database_url: str) -> None:
    async with connected(database_url) as connection:
        before = await connection.fetch("SELECT xmin, ctid, * FROM log_head")
        for _ in range(3):
            await ours.appender.append(request(part(uuid4(), 0)))
        assert await connection.fetch("SELECT xmin, ctid, * FROM log_head") == before
        assert await log_head(connection) == 3


@pytest.mark.parametrize(
    "archive",
    ["DELETE FROM events WHERE position <= 2", "DELETE FROM events", "TRUNCATE events"],
    ids=["the oldest", "all", "all at once"],
)
async def test_a_position_is_never_given_out_twice_whatever_is_taken_out_of_the_table(
    ours: WriteSide, database_url: str, archive: str
) -> None:
    for _ in range(3):
        await ours.appender.append(request(part(uuid4(), 0)))
    async with connected(database_url) as connection:
        await connection.execute(archive)
        assert await log_head(connection) == 3
    assert await ours.appender.append(request(part(uuid4(), 0))) == Appended(4)


async def test_a_restored_copy_goes_on_where_its_events_end(ours: WriteSide, database_url: str) -> None:
    for _ in range(3):
        await ours.appender.append(request(part(uuid4(), 0)))
    async with connected(database_url) as connection:
        events = await connection.fetch("SELECT * FROM events")
        await connection.execute("TRUNCATE events")
        await connection.execute("UPDATE log_head SET position = 0")
        await connection.copy_records_to_table("events", records=[tuple(event) for event in events])
        assert await log_head(connection) == 3
    assert await ours.appender.append(request(part(uuid4(), 0))) == Appended(4)


async def test_two_processes_give_out_no_position_twice_and_none_not_at_all(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    for _ in range(20):
        await ours.appender.append(request(part(uuid4(), 0, 2)))
        await theirs.appender.append(request(part(uuid4(), 0)))
    async with connected(database_url) as connection:
        assert await log_head(connection) == 60
        assert await violations(connection) == []


# --- Servers that take no events -------------------------------------------------------------------------------------


@pytest.fixture
async def read_only(database_url: str) -> str:
    name = database_url.rpartition("/")[2]
    async with connected(database_url) as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    return database_url


async def test_a_server_that_is_read_only_gives_no_verdict_of_any_kind(ours: WriteSide, read_only: str) -> None:
    a = uuid4()
    nothing, adding = request(part(a, 0, 0)), request(part(a, 0))
    looking = request(part(a, 0, 0), key=idempotency("k", store=False))
    claiming = request(part(a, 0, 0), claims=[take(a, "ada")])
    for each in (nothing, adding, looking, claiming):
        with pytest.raises(Unavailable):
            await ours.appender.append(each)


async def test_a_stream_of_another_kind_is_absent_and_nothing_can_be_added_to_it(ours: WriteSide) -> None:
    a = uuid4()
    await ours.appender.append(request(part(a, 0)))
    for stale in (part(a, 1, 0, "other"), part(a, 1, 1, "other"), part(a, 0, 1, "other")):
        assert await ours.appender.append(request(stale)) == Conflict()
    assert await ours.appender.append(request(part(a, 0, 0, "other"))) == Appended(1)


async def test_a_release_that_decides_by_versions_alone_is_told_to_come_back(database_url: str) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.CannotConnectNowError):
            await connection.fetch("SELECT verdict FROM append_events('{}')")


OF_BEFORE: Final = "SELECT verdict, at, recorded, detail FROM append_to_log($1)"
"""Just so: with two functions of the name Postgres would not know which of them is meant."""


def as_a_document(stream: UUID, expected: int) -> bytes:
    """A batch as the release before sends it: two requests, of which the first adds to the stream."""
    added = {"stream": stream, "category": "thing", "expected": expected, "added": 1}
    event = {"version": expected + 1, "shard": 0, "type": "thing.happened", "schema": 1, "data": {"a": [1]}}
    more = {"stream": uuid4(), "category": "thing", "expected": 0, "added": 1}
    key = {"principal": "p", "fingerprint": "\\x01", "outcome": {"id": 1}, "store": True}
    return orjson.dumps(
        {
            "keyed": True,
            "writing": True,
            "requests": [
                {"parts": 1, "events": 1, "claims": 0, "key": f"{each['stream']} {expected}"} | key
                for each in (added, more)
            ],
            "parts": [added, more],
            "premises": [],
            "events": [event | {"metadata": {}} | each for each in (added, more | {"version": 1})],
            "claims": [],
            "allowances": [],
        }
    )


async def test_a_release_that_sends_its_batches_as_documents_is_served_beside_this_one(
    ours: WriteSide, database_url: str
) -> None:
    stream = uuid4()
    async with connected(database_url) as connection:

        async def said(expected: int) -> list[str]:
            rows = await connection.fetch(OF_BEFORE, as_a_document(stream, expected))
            return [row["verdict"] for row in rows]

        assert await said(0) == ["all"]
        assert await said(0) == ["replayed", "stored"]
        assert await said(7) == ["conflict", "stored"]
        assert await ours.appender.append(request(part(stream, 1))) == Appended(5)
        data = {orjson.dumps(orjson.loads(row["data"])) for row in await whole_log(connection)}
        assert data == {b'{"a":[1]}', HAPPENED.data}
        assert await violations(connection) == []


# --- What one batch may bring ----------------------------------------------------------------------------------------


async def test_a_batch_is_bounded_by_what_is_in_it(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.eventsourcing.store.appender.MOST_ROWS", 20)
    async with write_side(database_url) as side:
        waiting = [side.appender.enqueue(request(part(uuid4(), 0, 6))) for _ in range(5)]
        waiting += [side.appender.enqueue(request(part(uuid4(), 0, 40)))]
        verdicts = [await each for each in waiting]
    assert verdicts == [Appended(position) for position in (6, 12, 18, 24, 30, 70)]
    async with connected(database_url) as connection:
        rows = await connection.fetch("SELECT count(*) FROM events GROUP BY xmin::text ORDER BY min(position)")
    assert [row["count"] for row in rows] == [12, 12, 6, 40]


async def test_and_by_its_bytes(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.eventsourcing.store.appender.MOST_BYTES", 10)
    async with write_side(database_url) as side:
        waiting = [side.appender.enqueue(request(part(uuid4(), 0))) for _ in range(5)]
        assert [await each for each in waiting] == [Appended(position) for position in range(1, 6)]
    async with connected(database_url) as connection:
        rows = await connection.fetch("SELECT count(*) FROM events GROUP BY xmin::text ORDER BY min(position)")
    assert [row["count"] for row in rows] == [2, 2, 1]
