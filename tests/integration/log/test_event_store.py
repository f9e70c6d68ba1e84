"""The batched append: order without holes, one verdict per request, claims, bounded waits, and who spoils whom."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from infra.eventsourcing.store import Appended, ClaimTaken, Conflict, Replayed
from infra.eventsourcing.store.batch import APPEND, columns_of
from tests.support import planted
from tests.support.log_checks import violations
from tests.support.write_side import (
    Guess,
    WriteSide,
    connected,
    eventually,
    head_held,
    idempotency,
    in_one_batch,
    part,
    release,
    request,
    somebody_waits,
    take,
)

pytestmark = pytest.mark.anyio


UNREADABLE = [
    *[("recorded_at", time) for time in ("infinity", "-infinity", "4000-01-01 BC", "12000-01-01")],
    *[("shard", shard) for shard in ("64", "-1")],
]


@pytest.mark.parametrize(("column", "value"), UNREADABLE)
async def test_what_nobody_could_read_does_not_get_into_the_log_in_whatever_way(
    ours: WriteSide, database_url: str, column: str, value: str
) -> None:
    await in_one_batch(ours.appender, request(part(uuid4(), 0)))
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(f"UPDATE events SET {column} = '{value}'")


# --- Verdicts: each request for itself -------------------------------------------------------------------------------


async def test_a_batch_numbers_its_requests_in_the_order_in_which_they_came(ours: WriteSide) -> None:
    a, b = uuid4(), uuid4()
    verdicts = await in_one_batch(
        ours.appender, request(part(a, 0, 2)), request(part(b, 0), part(a, 2)), request(part(b, 1, 3))
    )
    assert verdicts == [Appended(2), Appended(4), Appended(7)]


async def test_a_conflict_spoils_nobody_but_those_decided_on_it(ours: WriteSide, database_url: str) -> None:
    a, b, c = uuid4(), uuid4(), uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 0)),
        request(part(b, 7)),
        request(part(b, 8), part(c, 0)),
        request(part(c, 1)),
        request(part(a, 1)),
        request(part(uuid4(), 0)),
    )
    assert verdicts == [Appended(1), Conflict(), Conflict(), Conflict(), Appended(2), Appended(3)]
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def test_a_unit_of_work_that_fails_on_its_last_stream_leaves_nothing_on_its_first(
    ours: WriteSide, database_url: str
) -> None:
    a, b = uuid4(), uuid4()
    verdicts = await in_one_batch(ours.appender, request(part(b, 0)), request(part(a, 0, 2), part(b, 5)))
    assert verdicts == [Appended(1), Conflict()]
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE stream_id = $1", a) == 0
        assert await violations(connection) == []


async def test_a_stream_that_is_only_relied_on_must_not_have_moved(ours: WriteSide, theirs: WriteSide) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0)))
    assert await ours.appender.append(request(part(a, 1, 0), part(b, 0))) == Appended(2)
    await theirs.appender.append(request(part(a, 1)))
    assert await ours.appender.append(request(part(a, 1, 0), part(b, 1))) == Conflict()
    assert await ours.appender.append(request(part(a, 1, 0))) == Conflict()
    assert await ours.appender.append(request(part(a, 2, 0))) == Appended(3)


async def test_what_is_relied_on_may_have_moved_by_a_request_of_the_same_batch_that_was_expected(
    ours: WriteSide,
) -> None:
    a, b = uuid4(), uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 0)),
        request(part(a, 1, 0), part(b, 0)),
        request(part(a, 0, 0), part(b, 1)),
        request(part(a, 1)),
    )
    assert verdicts == [Appended(1), Appended(2), Conflict(), Appended(3)]


async def test_events_of_one_request_lie_side_by_side_and_carry_what_was_asked(
    ours: WriteSide, database_url: str
) -> None:
    a, b = uuid4(), uuid4()
    metadata = b'{"actor": "tester"}'
    await in_one_batch(ours.appender, request(part(a, 0, 2), part(b, 0), metadata=metadata), request(part(a, 2)))
    async with connected(database_url) as connection:
        rows = await connection.fetch(
            "SELECT stream_id, version, category, shard, type, schema_version, metadata ->> 'actor' AS actor"
            " FROM events ORDER BY position"
        )
    assert [tuple(row) for row in rows] == [
        (a, 1, "thing", a.int % 4, "thing.happened", 1, "tester"),
        (a, 2, "thing", a.int % 4, "thing.happened", 1, "tester"),
        (b, 1, "thing", b.int % 4, "thing.happened", 1, "tester"),
        (a, 3, "thing", a.int % 4, "thing.happened", 1, None),
    ]


# --- A version alone cannot tell: another process may have filled the very version that was expected -----------------


async def _chain_broken_by_a_stranger(ours: WriteSide, theirs: WriteSide) -> list[object]:
    """A request on ``a`` fails, the next one expects what it would have left; a stranger has left just that."""
    a, b = uuid4(), uuid4()
    await theirs.appender.append(request(part(a, 0)))
    await ours.appender.append(request(part(b, 0), claims=[take(b, "ada@example.org")]))
    # Decided at version 0 and 1 of `a`; the first cannot be stored, and version 1 is the stranger's.
    first = request(part(a, 0), claims=[take(a, "ada@example.org")])
    second = request(part(a, 1))
    return list(await in_one_batch(ours.appender, first, second))


async def test_a_request_decided_on_a_failed_one_conflicts_though_its_version_is_there(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    assert await _chain_broken_by_a_stranger(ours, theirs) == [Conflict(), Conflict()]


async def test_without_the_poisoned_list_the_same_request_would_be_stored(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    await planted.plant(database_url, planted.NO_POISON)
    assert await _chain_broken_by_a_stranger(ours, theirs) == [Conflict(), Appended(3)]


async def test_a_request_decided_on_one_that_failed_in_an_earlier_batch_is_never_sent(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    a, guess = uuid4(), Guess()
    async with head_held(database_url) as holder:
        first = asyncio.create_task(ours.appender.append(request(part(a, 0), premises=[guess])))
        await eventually(lambda: somebody_waits(holder))
        # Decided on what the first will leave, and queued while that is in flight.
        second = asyncio.create_task(ours.appender.append(request(part(a, 1), premises=[guess])))
        innocent = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        # A stranger gets in before the first: version 1 exists now, but it is not the one that was meant.
        await holder.fetch(APPEND, columns_of([request(part(a, 0))]))
    assert [await first, await second, await innocent] == [Conflict(), Conflict(), Appended(2)]


# --- The head of the log ---------------------------------------------------------------------------------------------


async def test_a_call_that_stores_nothing_never_moves_the_head_back(ours: WriteSide, database_url: str) -> None:
    a = uuid4()
    await ours.appender.append(request(part(a, 0)))
    async with connected(database_url) as other:
        async with other.transaction():
            # The lookup below reads the head, then has to wait here, while another process appends.
            await other.execute("LOCK TABLE commands IN ACCESS EXCLUSIVE MODE")
            lookup = asyncio.create_task(
                ours.appender.append(request(part(a, 1, 0), key=idempotency("k", store=False)))
            )
            await eventually(lambda: somebody_waits(other))
            await other.fetch(APPEND, columns_of([request(part(a, 1), key=idempotency("k"))]))
        assert isinstance(await lookup, Replayed)
        assert await violations(other) == []
    assert await ours.appender.append(request(part(a, 2))) == Appended(3)


async def test_a_later_position_is_never_recorded_at_an_earlier_time(ours: WriteSide, database_url: str) -> None:
    async with head_held(database_url) as holder:
        waiting = asyncio.create_task(ours.appender.append(request(part(uuid4(), 0))))
        await eventually(lambda: somebody_waits(holder))
        await holder.fetch(APPEND, columns_of([request(part(uuid4(), 0))]))
    assert await waiting == Appended(2)
    async with connected(database_url) as connection:
        assert await violations(connection) == []


# --- Unique claims ---------------------------------------------------------------------------------------------------


async def _holders(url: str) -> dict[bytes, object]:
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT key_digest, stream_id FROM claims")
    return {row["key_digest"]: row["stream_id"] for row in rows}


async def test_a_key_that_is_taken_is_named(ours: WriteSide) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "ada@example.org")]))
    wanted = [take(b, "bea@example.org"), take(b, "ada@example.org")]
    assert await ours.appender.append(request(part(b, 0), claims=wanted)) == ClaimTaken(wanted[1])
    assert await ours.appender.append(request(part(b, 0), claims=wanted[:1])) == Appended(2)


async def test_a_key_wanted_twice_in_one_batch_goes_to_the_first(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 0), claims=[take(a, "ada@example.org")]),
        request(part(b, 0), claims=[take(b, "ada@example.org")]),
        request(part(uuid4(), 0)),
    )
    assert verdicts == [Appended(1), ClaimTaken(take(b, "ada@example.org")), Appended(2)]
    assert list((await _holders(database_url)).values()) == [a]


async def test_a_key_of_two_scopes_is_two_keys(ours: WriteSide) -> None:
    a, b = uuid4(), uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 0), claims=[take(a, "ada")]),
        request(part(b, 0), claims=[take(b, "ada", scope="username")]),
    )
    assert verdicts == [Appended(1), Appended(2)]


async def test_a_key_given_back_is_free(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "tea-1")]))
    await ours.appender.append(request(part(a, 1), claims=[release(a, "tea-1")]))
    assert await _holders(database_url) == {}
    assert await ours.appender.append(request(part(b, 0), claims=[take(b, "tea-1")])) == Appended(3)


async def test_a_key_given_back_can_be_taken_again_in_the_same_batch(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "tea-1")]))
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 1), claims=[release(a, "tea-1")]),
        request(part(b, 0), claims=[take(b, "tea-1")]),
        request(part(a, 2), claims=[take(a, "tea-1")]),
    )
    assert verdicts == [Appended(2), Appended(3), ClaimTaken(take(a, "tea-1"))]
    assert list((await _holders(database_url)).values()) == [b]


async def test_a_key_can_be_given_back_and_taken_again_by_one_request(ours: WriteSide, database_url: str) -> None:
    a = uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "tea-1")]))
    again = [release(a, "tea-1"), take(a, "tea-2"), release(a, "tea-2"), take(a, "tea-1")]
    assert await ours.appender.append(request(part(a, 1), claims=again)) == Appended(2)
    assert await _holders(database_url) == {take(a, "tea-1").digest: a}


async def test_a_request_that_fails_takes_and_gives_back_no_keys(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "tea-1")]))
    stale = request(part(a, 0), part(b, 0), claims=[release(a, "tea-1"), take(b, "tea-2")])
    assert await ours.appender.append(stale) == Conflict()
    assert await _holders(database_url) == {take(a, "tea-1").digest: a}


async def test_nobody_gives_back_what_another_holds(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    await ours.appender.append(request(part(a, 0), claims=[take(a, "tea-1")]))
    assert await ours.appender.append(request(part(b, 0), claims=[release(b, "tea-1")])) == Appended(2)
    assert await _holders(database_url) == {take(a, "tea-1").digest: a}


async def test_two_streams_of_one_request_cannot_take_the_same_key(ours: WriteSide, database_url: str) -> None:
    a, b = uuid4(), uuid4()
    both = request(part(a, 0), part(b, 0), claims=[take(a, "tea-1"), take(b, "tea-1")])
    assert await ours.appender.append(both) == ClaimTaken(take(b, "tea-1"))
    assert await _holders(database_url) == {}
