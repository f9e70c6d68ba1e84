"""What many requests of a batch rely on: said once, and confirmed for each of them as if it had said it itself."""

from uuid import UUID, uuid4

import pytest

from infra.eventsourcing.store import Appended, AppendRequest, ClaimTaken, Conflict, SharedPremises, Verdict
from infra.eventsourcing.store.batch import APPEND, columns_of
from tests.support import planted
from tests.support.log_checks import violations
from tests.support.write_side import Guess, WriteSide, connected, in_one_batch, part, request, shared, take

pytestmark = pytest.mark.anyio


def relying(ground: SharedPremises | None, number: int) -> list[AppendRequest]:
    return [request(part(uuid4(), 0), shared=ground) for _ in range(number)]


async def stored(ours: WriteSide, stream: UUID) -> Guess:
    """The stream's first event, as its writer knows it."""
    known = Guess()
    await ours.appender.append(request(part(stream, 0), premises=[known]))
    return known


async def test_all_are_stored_while_the_stream_ends_as_they_think(ours: WriteSide) -> None:
    account = uuid4()
    known = await stored(ours, account)
    verdicts = await in_one_batch(ours.appender, *relying(shared(account, 1, known.last), 3), *relying(None, 1))
    assert verdicts == [Appended(2), Appended(3), Appended(4), Appended(5)]


async def test_many_who_rely_on_the_same_are_looked_at_together(ours: WriteSide, database_url: str) -> None:
    """One by one the log takes several times as long."""
    account = uuid4()
    known = await stored(ours, account)
    requests = [*relying(shared(account, 1, known.last), 2), *relying(shared(account, 1, known.last), 2)]
    async with connected(database_url) as connection:
        rows = await connection.fetch(APPEND, columns_of(requests))
    assert [row["verdict"] for row in rows] == ["all"]


async def _behind_the_times(ours: WriteSide, theirs: WriteSide) -> list[Verdict]:
    account = uuid4()
    known = await stored(ours, account)
    await theirs.appender.append(request(part(account, 1)))
    ground, newer = shared(account, 1, known.last), shared(account, 2)
    return await in_one_batch(ours.appender, *relying(ground, 2), *relying(None, 1), *relying(newer, 1))


async def test_none_is_stored_that_relies_on_what_has_moved_and_nobody_else_is_held_up(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    assert await _behind_the_times(ours, theirs) == [Conflict(), Conflict(), Appended(3), Appended(4)]
    async with connected(database_url) as connection:
        assert await violations(connection) == []


async def test_an_append_that_looks_at_no_shared_premise_would_store_them_all(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    await planted.plant(database_url, *planted.NO_SHARED)
    assert Conflict() not in await _behind_the_times(ours, theirs)


async def test_another_event_under_the_same_version_is_not_what_they_rely_on(ours: WriteSide) -> None:
    account = uuid4()
    known = await stored(ours, account)
    assert known.last is not None
    for other in (known.last._replace(position=7), known.last._replace(recorded=known.last.recorded + 1)):
        assert await in_one_batch(ours.appender, *relying(shared(account, 1, other), 2)) == [Conflict(), Conflict()]


async def test_a_stream_of_another_kind_is_none(ours: WriteSide) -> None:
    account = uuid4()
    await stored(ours, account)
    verdicts = await in_one_batch(
        ours.appender,
        *relying(shared(account, 1, category="other"), 1),
        *relying(shared(account, 0, category="other"), 1),
        *relying(shared(uuid4(), 1), 1),
        *relying(shared(uuid4(), 0), 1),
    )
    assert verdicts == [Conflict(), Appended(2), Conflict(), Appended(3)]


async def _moved_within(ours: WriteSide) -> list[Verdict]:
    account = uuid4()
    known = await stored(ours, account)
    before, after = shared(account, 1, known.last), shared(account, 2)
    return await in_one_batch(
        ours.appender,
        *relying(before, 1),
        request(part(account, 1), premises=[known]),
        *relying(before, 1),
        *relying(after, 1),
    )


async def test_who_adds_to_it_in_the_same_batch_has_a_place_among_those_who_rely_on_it(ours: WriteSide) -> None:
    assert await _moved_within(ours) == [Appended(2), Appended(3), Conflict(), Appended(4)]


async def test_without_heed_to_that_order_whoever_comes_too_late_would_be_stored(
    ours: WriteSide, database_url: str
) -> None:
    """With two versions of it in one batch that is looked at one by one all the same; with one it is not."""
    await planted.plant(database_url, planted.NO_ORDER)
    account = uuid4()
    known = await stored(ours, account)
    before = shared(account, 1, known.last)
    verdicts = await in_one_batch(ours.appender, request(part(account, 1), premises=[known]), *relying(before, 1))
    assert verdicts == [Appended(2), Appended(3)]


async def test_who_relies_on_what_was_never_stored_is_not_stored(ours: WriteSide) -> None:
    account, other = uuid4(), uuid4()
    await ours.appender.append(request(part(other, 0), claims=[take(other, "ada@example.org")]))
    verdicts = await in_one_batch(
        ours.appender,
        request(part(account, 0), claims=[take(account, "ada@example.org")]),
        *relying(shared(account, 1), 1),
        *relying(shared(account, 0), 1),
    )
    assert [type(verdict) for verdict in verdicts] == [ClaimTaken, Conflict, Conflict]


async def test_what_has_turned_out_not_to_be_is_not_sent(ours: WriteSide) -> None:
    account = uuid4()
    ground = shared(account, 0)
    ground.bases[0].broken = True
    assert await in_one_batch(ours.appender, *relying(ground, 2), *relying(None, 1)) == [
        Conflict(),
        Conflict(),
        Appended(1),
    ]


async def test_a_request_may_rely_on_several(ours: WriteSide, theirs: WriteSide) -> None:
    a, b = uuid4(), uuid4()
    await stored(ours, a)
    await stored(ours, b)
    both = SharedPremises([part(a, 1, 0), part(b, 1, 0)], [Guess(), Guess()])
    assert await in_one_batch(ours.appender, *relying(both, 2)) == [Appended(3), Appended(4)]
    await theirs.appender.append(request(part(b, 1)))
    assert await in_one_batch(ours.appender, *relying(both, 2)) == [Conflict(), Conflict()]
