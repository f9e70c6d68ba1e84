"""The same key, the same outcome, once: whoever repeats it, wherever, and however much has changed since."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from domain.accounts import ACCOUNTS, DeactivateAccount
from domain.inventory import INVENTORY, ChangeStock, OutOfStock, ReserveStock
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, VersionMismatch
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.eventsourcing.store import Appended, Conflict, Replayed
from tests.support import planted
from tests.support.log_checks import stock_after, violations, whole_log
from tests.support.write_side import (
    WriteSide,
    connected,
    context,
    eventually,
    head_held,
    idempotency,
    in_one_batch,
    part,
    request,
    somebody_waits,
    state_of,
)
from tests.support.writers import register_account

pytestmark = pytest.mark.anyio


async def receive(
    side: WriteSide, product: UUID, change: int, key: str | None = None, body: str = "", **conditions: Sequence[int]
) -> CommandOutcome:
    """Pieces come in."""
    command = ChangeStock(product_id=product, change=change, reason="count")
    return await side.commands.handle((INVENTORY, product), command, context(key, body, **conditions))


async def reserve(side: WriteSide, product: UUID, quantity: int, key: str) -> CommandOutcome:
    """Pieces are promised; ``quantity`` is the body."""
    command = ReserveStock(product_id=product, order_id=uuid4(), quantity=quantity)
    return await side.commands.handle((INVENTORY, product), command, context(key, str(quantity)))


async def keys_stored(url: str) -> list[str]:
    async with connected(url) as connection:
        return [row["key"] for row in await connection.fetch("SELECT key FROM commands ORDER BY key")]


def same(first: CommandOutcome, again: CommandOutcome) -> bool:
    """Equal but for the mark of a replay."""
    fields = ("id", "version", "position", "positions", "answer")
    return again.replayed and all(getattr(first, name) == getattr(again, name) for name in fields)


# --- Repeating -------------------------------------------------------------------------------------------------------


async def test_a_repeated_key_gives_the_first_outcome_and_stores_nothing_more(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    first = await receive(ours, product, 10, "k")
    await receive(ours, product, 1)
    await receive(theirs, uuid4(), 1)
    for side in (ours, theirs):
        assert same(first, await receive(side, product, 10, "k"))
    assert (await state_of(ours.database, INVENTORY, product)).available == 11


async def test_a_repeated_unit_of_work_tells_every_shard_again(ours: WriteSide, theirs: WriteSide) -> None:
    products = [uuid4() for _ in range(10)]

    def decide(work: UnitOfWork) -> None:
        for number, product in enumerate(products):
            command = ChangeStock(product_id=product, change=1 + number, reason="count")
            for _ in range(1 + number % 3):
                work.execute(INVENTORY, product, command)
        work.answer = {"total": {"amount": "19.90"}, "number": 55, "nothing": None}

    async def run(side: WriteSide) -> CommandOutcome:
        targets = [(INVENTORY, product) for product in products]
        return await side.commands.run(targets, decide, context("k"), new=10)

    await receive(ours, uuid4(), 1)
    first = await run(ours)
    assert len(first.positions) > 1
    assert same(first, await run(theirs))
    assert same(first, await run(ours))


async def test_another_request_under_the_same_key_is_refused_before_anything_else(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    await receive(ours, product, 10, "k", "ten")
    for side in (ours, theirs):
        with pytest.raises(IdempotencyKeyReused):
            await receive(side, product, 11, "k", "eleven")
    assert (await state_of(ours.database, INVENTORY, product)).available == 10


async def test_a_key_belongs_to_one_principal(ours: WriteSide) -> None:
    product = uuid4()
    command = ChangeStock(product_id=product, change=1, reason="count")
    for name in ("ada", "bea"):
        who = context("k", name)
        await ours.commands.handle((INVENTORY, product), command, type(who)(principal=name, idempotency_key="k"))
    assert (await state_of(ours.database, INVENTORY, product)).available == 2


async def test_the_first_outcome_is_told_even_where_the_rules_would_refuse_by_now(
    ours: WriteSide, theirs: WriteSide
) -> None:
    product = uuid4()
    await receive(ours, product, 5)
    first = await reserve(ours, product, 5, "k")
    for side in (ours, theirs):
        assert same(first, await reserve(side, product, 5, "k"))
        with pytest.raises(OutOfStock):
            await reserve(side, product, 5, "another")


async def test_the_first_outcome_is_told_even_where_the_version_has_moved_on(ours: WriteSide) -> None:
    product = uuid4()
    await receive(ours, product, 5)
    first = await receive(ours, product, 1, "k", if_match=(1,))
    assert same(first, await receive(ours, product, 1, "k", if_match=(1,)))
    with pytest.raises(VersionMismatch):
        await receive(ours, product, 1, "another", if_match=(1,))


async def test_a_taken_email_is_no_outcome_and_the_key_stays_free(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await receive(ours, product, 1)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 5, "k")
    assert await keys_stored(database_url) == []
    await receive(ours, product, 10)
    assert not (await reserve(ours, product, 5, "k")).replayed
    assert await keys_stored(database_url) == ["k"]


async def test_a_command_without_effect_keeps_its_outcome_too(ours: WriteSide, theirs: WriteSide) -> None:
    account = await register_account(ours, "ada@example.org", "ada")
    await receive(ours, uuid4(), 1)
    off = (ACCOUNTS, account)
    first = await ours.commands.run([off], lambda work: _touch(work, account), context("k", "touch"))
    assert (first.version, first.position) == (1, 1)
    await ours.commands.handle(off, DeactivateAccount(), context("other"))
    for side in (ours, theirs):
        again = await side.commands.run([off], lambda work: _touch(work, account), context("k", "touch"))
        assert same(first, again)
        with pytest.raises(IdempotencyKeyReused):
            await side.commands.run([off], lambda work: _touch(work, account), context("k", "else"))


def _touch(work: UnitOfWork, account: UUID) -> None:
    assert work.state(ACCOUNTS, account) is not None


async def test_a_command_without_effect_on_events_in_flight_is_told_the_same_place_twice(ours: WriteSide) -> None:
    account = await register_account(ours, "ada@example.org", "ada")
    first, without_effect = await asyncio.gather(
        ours.commands.handle((ACCOUNTS, account), DeactivateAccount(), context()),
        ours.commands.handle((ACCOUNTS, account), DeactivateAccount(), context("k")),
    )
    assert (without_effect.version, without_effect.positions) == (first.version, first.positions)
    again = await ours.commands.handle((ACCOUNTS, account), DeactivateAccount(), context("k"))
    assert same(without_effect, again)


# --- At the same time ------------------------------------------------------------------------------------------------


async def test_a_key_in_flight_is_not_free(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await receive(ours, product, 1)
    async with head_held(database_url) as holder:
        first = asyncio.create_task(receive(ours, product, 10, "k"))
        await eventually(lambda: somebody_waits(holder))
        for body in ("", "another"):
            with pytest.raises(IdempotencyKeyInFlight):
                await receive(ours, product, 10, "k", body)
        await holder.execute("SELECT")
    assert same(await first, await receive(ours, product, 10, "k"))


async def test_a_client_that_hangs_up_and_repeats_gets_the_outcome_once(ours: WriteSide, database_url: str) -> None:
    product = uuid4()
    await receive(ours, product, 1)
    async with head_held(database_url) as holder:
        first = asyncio.create_task(receive(ours, product, 10, "k"))
        await eventually(lambda: somebody_waits(holder))
        first.cancel()
        await asyncio.wait([first])
        again = asyncio.create_task(receive(ours, product, 10, "k"))
        await asyncio.sleep(0)
    assert (await again).replayed
    assert (await again).version == 2
    assert (await state_of(ours.database, INVENTORY, product)).available == 11


async def _everywhere_at_once(ours: WriteSide, theirs: WriteSide, url: str, product: UUID) -> list[CommandOutcome]:
    """The same keyed command in two processes while the head is held, so that both are under way."""
    async with head_held(url):
        both = [asyncio.create_task(receive(side, product, 10, "k")) for side in (ours, theirs)]
        async with connected(url) as connection:
            waiting = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted"
            await eventually(lambda: connection.fetchval(waiting))
    return [await task for task in both]


async def test_one_key_in_two_processes_at_once_is_one_command(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await receive(ours, product, 1)
    await receive(theirs, product, 1)
    one, other = sorted(
        await _everywhere_at_once(ours, theirs, database_url, product), key=lambda outcome: outcome.replayed
    )
    assert same(one, other)
    assert not one.replayed
    async with connected(database_url) as connection:
        assert stock_after(await whole_log(connection), product).available == 12
        assert await violations(connection) == []


async def test_without_looking_the_key_up_it_would_be_two(
    ours: WriteSide, theirs: WriteSide, database_url: str
) -> None:
    product = uuid4()
    await receive(ours, product, 1)
    await planted.plant(database_url, *planted.NO_KEYS)
    await _everywhere_at_once(ours, theirs, database_url, product)
    async with connected(database_url) as connection:
        assert stock_after(await whole_log(connection), product).available == 21


async def test_one_key_twice_in_one_batch_is_one_request(ours: WriteSide) -> None:
    a = uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 0), key=idempotency("k", "same", outcome=b'{"n": 1}')),
        request(part(a, 0), key=idempotency("k", "same", outcome=b'{"n": 2}')),
        request(part(uuid4(), 0), key=idempotency("k", "other")),
        request(part(uuid4(), 0)),
    )
    again = Replayed(idempotency("k", "same").fingerprint, b'{"n":1}', 1)
    assert verdicts == [Appended(1), again, again, Appended(2)]


async def test_one_key_twice_in_one_batch_is_seen_where_nothing_else_is_amiss(ours: WriteSide) -> None:
    verdicts = await in_one_batch(
        ours.appender, *[request(part(uuid4(), 0), key=idempotency(key)) for key in ("j", "k", "k", "l")]
    )
    again = Replayed(idempotency("k").fingerprint, b"{}", 2)
    assert verdicts == [Appended(1), Appended(2), again, Appended(3)]


async def test_a_request_that_conflicts_leaves_its_key_to_the_next(ours: WriteSide, database_url: str) -> None:
    a = uuid4()
    verdicts = await in_one_batch(
        ours.appender,
        request(part(a, 4), key=idempotency("k")),
        request(part(uuid4(), 0), key=idempotency("k")),
        request(part(uuid4(), 0, 0), key=idempotency("only looked up", store=False)),
    )
    assert verdicts == [Conflict(), Appended(1), Appended(1)]
    assert await keys_stored(database_url) == ["k"]


# --- When many repeat themselves -------------------------------------------------------------------------------------


async def _a_storm(side: WriteSide, product: UUID) -> int:
    """Ten clients repeat what was stored while thirty others want pieces of the same product; races lost meanwhile."""
    before = side.commands.races.lost
    repeats = [receive(side, product, 1, f"k{number}") for number in range(10)]
    commands = [receive(side, product, 1, f"new{number}") for number in range(30)]
    mixed = [each for pair in zip(repeats, commands[::3], strict=True) for each in pair]
    outcomes = await asyncio.gather(*mixed, *[each for place, each in enumerate(commands) if place % 3])
    assert sum(outcome.replayed for outcome in outcomes) == 10
    assert len({outcome.version for outcome in outcomes if not outcome.replayed}) == 30
    return side.commands.races.lost - before


async def test_requests_that_are_repeated_do_not_spoil_those_on_the_same_stream(ours: WriteSide) -> None:
    product = uuid4()
    for number in range(10):
        await receive(ours, product, 1, f"k{number}")
    # The first that is repeated is noticed; from then on keys are looked up before anything is decided.
    assert (await receive(ours, product, 1, "k0")).replayed
    assert await _a_storm(ours, product) == 0


async def test_as_long_as_nobody_repeats_anything_no_key_is_looked_up_beforehand(ours: WriteSide) -> None:
    product = uuid4()
    for number in range(10):
        await receive(ours, product, 1, f"k{number}")
    assert await _a_storm(ours, product) > 0
