"""One connection, one batch in flight: what shares a commit, how long anybody waits, and who gives up at whose cost."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from infra.errors import OutcomeUnknown, TooBusy, Unavailable
from infra.eventsourcing.codec import Encoded
from infra.eventsourcing.store import Appended, AppendRequest, Conflict, IdempotencyKey, StreamAppend, appender
from infra.eventsourcing.store.batch import APPEND, columns_of
from infra.observability.origin import Asking, arising_from, origin_fields
from tests.support.log_checks import violations, whole_log
from tests.support.write_side import (
    HAPPENED,
    Guess,
    WriteSide,
    connected,
    events,
    eventually,
    head_held,
    idempotency,
    in_one_batch,
    part,
    request,
    somebody_waits,
    take,
    write_side,
)

pytestmark = pytest.mark.anyio


async def batches(url: str) -> list[int]:
    """How many events each commit has brought."""
    async with connected(url) as connection:
        sizes = await connection.fetch("SELECT count(*) AS size FROM events GROUP BY xmin::text ORDER BY min(position)")
    return [row["size"] for row in sizes]


# --- What shares a commit --------------------------------------------------------------------------------------------


async def test_requests_that_come_together_share_one_commit(ours: WriteSide, database_url: str) -> None:
    verdicts = await in_one_batch(ours.appender, *[request(part(uuid4(), 0)) for _ in range(16)])
    assert verdicts == [Appended(position) for position in range(1, 17)]
    assert await batches(database_url) == [16]


async def test_of_many_writers_one_half_decides_while_the_other_half_is_stored(
    ours: WriteSide, database_url: str
) -> None:
    async def write() -> None:
        stream = uuid4()
        for version in range(10):
            await ours.appender.append(request(part(stream, version)))

    await asyncio.gather(*[write() for _ in range(64)])
    assert await batches(database_url) == [32] * 20


async def test_a_batch_takes_no_more_requests_than_it_may(database_url: str) -> None:
    async with write_side(database_url, largest_batch=10) as side:
        await in_one_batch(side.appender, *[request(part(uuid4(), 0)) for _ in range(25)])
    assert await batches(database_url) == [10, 10, 5]


async def test_each_commit_that_added_events_is_told_once_with_the_requests_that_did(database_url: str) -> None:
    rings: list[Sequence[AppendRequest]] = []
    async with write_side(database_url, on_stored=rings.append) as side:
        a = uuid4()
        good, other, bad = request(part(a, 0)), request(part(uuid4(), 0)), request(part(a, 9))
        await in_one_batch(side.appender, good, other, bad)
        assert rings == [[good, other]]
        await side.appender.append(request(part(a, 1, 0)))
        await side.appender.append(request(part(a, 1, 0), key=idempotency("k")))
        await side.appender.append(request(part(a, 0)))
        assert len(rings) == 1


async def test_what_a_commit_leads_to_is_said_to_come_of_none_of_those_who_share_it(database_url: str) -> None:
    origins: list[dict[str, str]] = []
    async with write_side(database_url, on_stored=lambda _: origins.append(dict(origin_fields()))) as side:
        with arising_from(Asking(request_id="r-1")):
            await side.appender.append(request(part(uuid4(), 0)))
    assert origins == [{}]


async def test_a_request_that_takes_a_key_and_adds_nothing_still_counts_as_a_write() -> None:
    a = uuid4()
    assert request(part(a, 1, 0), claims=[take(a, "ada")]).writes


async def test_what_stores_nothing_does_not_wait_for_the_head(ours: WriteSide, database_url: str) -> None:
    a = uuid4()
    await ours.appender.append(request(part(a, 0)))
    async with head_held(database_url), asyncio.timeout(0.9):
        assert await ours.appender.append(request(part(a, 1, 0))) == Appended(1)


async def test_closing_waits_for_what_is_in_flight(database_url: str) -> None:
    async with write_side(database_url) as side:
        async with head_held(database_url) as holder:
            appending = asyncio.create_task(side.appender.append(request(part(uuid4(), 0))))
            await eventually(lambda: somebody_waits(holder))
            closing = asyncio.create_task(side.appender.close())
            await asyncio.sleep(0)
            assert not closing.done()
        await closing
        assert appending.done()
        assert await appending == Appended(1)


# --- Waiting is bounded ----------------------------------------------------------------------------------------------


async def test_a_head_that_stays_locked_is_unavailable_in_time_and_stores_nothing(
    ours: WriteSide, database_url: str
) -> None:
    loop = asyncio.get_running_loop()
    async with head_held(database_url) as holder:
        started = loop.time()
        early = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        late = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        with pytest.raises(Unavailable):
            await early
        with pytest.raises(Unavailable):
            await late
        assert loop.time() - started < 2
    assert await ours.appender.append(request(part(uuid4(), 0))) == Appended(1)


async def test_an_answer_that_does_not_come_in_time_is_unknown_and_the_next_one_is_asked_anew(
    database_url: str,
) -> None:
    a, guess = uuid4(), Guess()
    async with write_side(database_url, timeout=0.3) as side:
        async with head_held(database_url):
            with pytest.raises(OutcomeUnknown):
                await side.appender.append(request(part(a, 0), premises=[guess]))
            assert guess.broken
        async with connected(database_url) as connection:
            # The server is told to give up what nobody waits for any more, or has done it by now.
            await eventually(lambda: _nothing_runs(connection))
            stored = await connection.fetchval("SELECT count(*) FROM events")
        assert await side.appender.append(request(part(uuid4(), 0))) == Appended(stored + 1)


async def _nothing_runs(connection: object) -> bool:
    return not await somebody_waits(connection)  # type: ignore[arg-type]


async def test_a_queue_that_is_full_turns_away_at_once_and_keeps_those_who_wait(
    ours: WriteSide, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 100  # ten thousand take longer than the server waits for a lock that the test holds
    monkeypatch.setattr(appender, "MOST_WAITING", most)
    a, guess = uuid4(), Guess()
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        kept = ours.appender.enqueue(request(part(a, 0), premises=[guess]))
        filler = request(part(uuid4(), 0))
        queue = [ours.appender.enqueue(filler) for _ in range(most - 1)]
        with pytest.raises(TooBusy):
            await ours.appender.append(request(part(a, 1), premises=[guess]))
        for waiting in queue:
            waiting.cancel()
    assert [await first, await kept] == [Appended(1), Appended(2)]


async def test_a_queue_that_is_full_of_bytes_turns_away_though_few_wait_and_takes_more_once_it_is_empty(
    ours: WriteSide, database_url: str
) -> None:
    large = Encoded("thing.happened", 1, b'"%b"' % (b"x" * 1_000_000))
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        requests = [request(StreamAppend(uuid4(), "thing", 0, 0, [large])) for _ in range(65)]
        queue = [ours.appender.enqueue(each) for each in requests[:64]]
        with pytest.raises(TooBusy):
            ours.appender.enqueue(requests[64])
        for waiting in queue:
            waiting.cancel()
    assert await first == Appended(1)
    assert await ours.appender.append(request(part(uuid4(), 0))) == Appended(2)
    assert ours.appender._waiting_bytes == 0


async def test_nobody_waits_behind_a_slow_server_longer_than_a_client_would(database_url: str) -> None:
    loop = asyncio.get_running_loop()
    async with connected(database_url) as connection:
        await connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END';"
            "CREATE TRIGGER slow AFTER INSERT ON events EXECUTE FUNCTION slow()"
        )
    async with write_side(database_url, largest_batch=1) as side:
        started = loop.time()
        requests = [side.appender.append(request(part(uuid4(), 0))) for _ in range(8)]
        said = await asyncio.gather(*requests, return_exceptions=True)
        assert loop.time() - started < 3.5
    assert said[:2] == [Appended(1), Appended(2)]
    assert {type(late) for late in said[-3:]} == {Unavailable}


# --- Giving up hurts nobody ------------------------------------------------------------------------------------------


async def test_who_hangs_up_in_the_queue_is_not_stored_and_takes_down_only_what_was_decided_on_it(
    ours: WriteSide, database_url: str
) -> None:
    a, b, guess = uuid4(), uuid4(), Guess()
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(b, 0))))
        await eventually(lambda: somebody_waits(holder))
        leaving = asyncio.create_task(ours.appender.append(request(part(a, 0), premises=[guess])))
        behind = asyncio.create_task(ours.appender.append(request(part(a, 1), premises=[guess])))
        neighbour = asyncio.create_task(ours.appender.append(request(part(b, 1))))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        # A stranger leaves the very version that the one behind expects.
        await holder.fetch(APPEND, columns_of([request(part(a, 0))]))
    assert [await first, await behind, await neighbour] == [Appended(2), Conflict(), Appended(3)]
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE stream_id = $1", a) == 1


async def test_who_hangs_up_in_flight_is_stored_all_the_same_with_its_neighbours(
    ours: WriteSide, database_url: str
) -> None:
    a, b, guess = uuid4(), uuid4(), Guess()
    async with head_held(database_url) as holder:
        leaving = asyncio.create_task(ours.appender.append(request(part(a, 0), premises=[guess])))
        neighbour = asyncio.create_task(ours.appender.append(request(part(b, 0))))
        await eventually(lambda: somebody_waits(holder))
        leaving.cancel()
        await asyncio.wait([leaving])
        behind = asyncio.create_task(ours.appender.append(request(part(a, 1), premises=[guess])))
    assert [await neighbour, await behind] == [Appended(2), Appended(3)]
    assert not guess.broken
    async with connected(database_url) as connection:
        assert await violations(connection) == []


# --- What Postgres cannot store --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"n": 1' + b"0" * 400 + b"}",
        b'{"n": 1e-300, "m": -0.0}',
        '{"t": "\\u202e\\ufeff \u0085 \U0010ffff \U0001f468\u200d\U0001f469 e\u0301"}'.encode(),
        b'{"t": "' + b"x" * 1_000_000 + b'"}',
    ],
    ids=["a huge number", "a tiny number", "odd letters", "a megabyte"],
)
async def test_odd_data_comes_back_as_it_was(ours: WriteSide, database_url: str, data: bytes) -> None:
    odd = StreamAppend(uuid4(), "thing", 0, 0, [Encoded("thing.happened", 1, data)])
    assert await ours.appender.append(request(odd)) == Appended(1)
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT data = $1::jsonb FROM events", data)


@pytest.mark.parametrize("data", [b'{"t": "a\\u0000b"}', b'{"t": "\\ud800"}', b'{"n": 1e400000}'])
async def test_what_postgres_cannot_hold_fails_alone(ours: WriteSide, database_url: str, data: bytes) -> None:
    bad, a = StreamAppend(uuid4(), "thing", 0, 0, [Encoded("thing.happened", 1, data)]), uuid4()
    said = await asyncio.gather(
        ours.appender.append(request(part(a, 0))),
        ours.appender.append(request(bad)),
        ours.appender.append(request(part(a, 1))),
        return_exceptions=True,
    )
    assert [said[0], said[2]] == [Appended(1), Appended(2)]
    assert isinstance(said[1], Exception)
    assert not isinstance(said[1], Unavailable | OutcomeUnknown)


async def test_who_waits_behind_a_bad_request_is_not_told_that_postgres_is_away(
    ours: WriteSide, database_url: str
) -> None:
    bad = StreamAppend(uuid4(), "thing", 0, 0, [Encoded("thing.happened", 1, b'"\\u0000"')])
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        spoilt = asyncio.create_task(ours.appender.append(request(bad)))
        await asyncio.sleep(0)
    await first
    innocent = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
    with pytest.raises(Exception, match="Unicode"):
        await spoilt
    assert await innocent == Appended(2)


@pytest.mark.parametrize("between", ["\x1e", "\x1f"], ids=["columns", "texts"])
@pytest.mark.parametrize("place", ["data", "metadata", "key", "outcome"])
async def test_what_looks_like_the_space_between_two_fails_alone(
    ours: WriteSide, database_url: str, between: str, place: str
) -> None:
    """It is neither taken for two, nor does its neighbour get what follows."""
    odd = f'{{"a": 1}}{between}{{"b": 2}}'
    data = odd.encode() if place == "data" else b'{"a": 1}'
    key = IdempotencyKey("tester", odd if place == "key" else "k", b"", odd.encode() if place == "outcome" else b"{}")
    bad = StreamAppend(uuid4(), "thing", 0, 0, [Encoded("thing.happened", 1, data)])
    more = {"metadata": odd.encode()} if place == "metadata" else {}
    a = uuid4()
    said = await asyncio.gather(
        ours.appender.append(request(part(a, 0), key=idempotency("before"))),
        ours.appender.append(request(bad, key=key, **more)),
        ours.appender.append(request(part(a, 1), key=idempotency("after"))),
        return_exceptions=True,
    )
    assert [said[0], said[2]] == [Appended(1), Appended(2)]
    assert isinstance(said[1], Exception)
    assert not isinstance(said[1], Unavailable | OutcomeUnknown)
    async with connected(database_url) as connection:
        assert [row["data"] for row in await whole_log(connection)] == [HAPPENED.data] * 2


@pytest.mark.parametrize("letters", ["a\x00b", "\ud800"], ids=["NUL", "half a pair"])
async def test_a_key_with_letters_that_postgres_cannot_hold_fails_alone(ours: WriteSide, letters: str) -> None:
    odd = IdempotencyKey("tester", letters, b"", b"{}")
    a = uuid4()
    said = await asyncio.gather(
        ours.appender.append(request(part(a, 0))),
        ours.appender.append(request(part(uuid4(), 0), key=odd)),
        return_exceptions=True,
    )
    assert said[0] == Appended(1)
    assert isinstance(said[1], Exception)


async def test_an_id_that_came_from_a_row_is_as_good_as_any(ours: WriteSide, database_url: str) -> None:
    async with connected(database_url) as connection:
        drivers_own = await connection.fetchval("SELECT gen_random_uuid()")
    stream = StreamAppend(drivers_own, "thing", 0, 0, events(1))
    assert await ours.appender.append(request(stream, claims=[take(drivers_own, "ada")])) == Appended(1)
