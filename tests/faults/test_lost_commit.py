"""The answer to a commit is lost: the client learns that nobody knows, repeats its key, and gets the truth, once."""

import asyncio
from collections.abc import AsyncIterator
from itertools import cycle
from uuid import UUID, uuid4

import pytest

from domain.inventory import INVENTORY, ChangeStock, OutOfStock, ReserveStock
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import OutcomeUnknown, TooBusy, Unavailable
from infra.eventsourcing.commands.attempt import CommandOutcome
from tests.support import planted
from tests.support.log_checks import stock_after, violations, whole_log
from tests.support.proxy import Proxy, proxy_before
from tests.support.write_side import WriteSide, connected, context, write_side

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with proxy_before(database_url) as opened:
        yield opened


@pytest.fixture
async def ours(proxy: Proxy) -> AsyncIterator[WriteSide]:
    """A write side behind the bad line."""
    async with write_side(proxy.url) as opened:
        yield opened


@pytest.fixture
async def product(ours: WriteSide) -> UUID:
    """Something with ten pieces, which the process knows."""
    product, command = uuid4(), ChangeStock(product_id=uuid4(), change=10, reason="first stock")

    def decide(work: UnitOfWork) -> None:
        work.execute(INVENTORY, product, command)

    await ours.commands.run([(INVENTORY, product)], decide, context(), new=1)
    return product


async def receive(side: WriteSide, product: UUID, change: int, key: str | None = None) -> CommandOutcome:
    command = ChangeStock(product_id=product, change=change, reason="count")
    return await side.commands.handle((INVENTORY, product), command, context(key))


async def reserve(side: WriteSide, product: UUID, quantity: int, key: str | None = None) -> CommandOutcome:
    command = ReserveStock(product_id=product, order_id=uuid4(), quantity=quantity)
    return await side.commands.handle((INVENTORY, product), command, context(key))


async def pieces(url: str, product: UUID) -> tuple[int, list[str]]:
    """How many are free by the log, and what is wrong with the log."""
    async with connected(url) as connection:
        return stock_after(await whole_log(connection), product).available, await violations(connection)


async def test_a_lost_answer_is_unknown_and_the_key_gives_the_true_outcome_once(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await receive(ours, product, 5, "k")
    again = await receive(ours, product, 5, "k")
    assert (again.replayed, again.version, again.position) == (True, 2, 2)
    assert await pieces(database_url, product) == (15, [])


async def test_another_process_gives_the_same_outcome_for_the_key(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await receive(ours, product, 5, "k")
    async with write_side(database_url) as theirs:
        assert (await receive(theirs, product, 5, "k")).replayed
    assert await pieces(database_url, product) == (15, [])


async def test_a_lost_request_is_unknown_too_and_the_key_carries_it_out(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    proxy.lose_the_next_request()
    with pytest.raises(OutcomeUnknown):
        await receive(ours, product, 5, "k")
    assert await pieces(database_url, product) == (10, [])
    assert not (await receive(ours, product, 5, "k")).replayed
    assert await pieces(database_url, product) == (15, [])


async def test_without_looking_the_key_up_the_repeated_command_would_count_twice(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    await planted.plant(database_url, *planted.NO_KEYS)
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await receive(ours, product, 5, "k")
    await receive(ours, product, 5, "k")
    assert await pieces(database_url, product) == (20, [])


async def test_a_repeated_key_tells_of_success_where_the_rules_would_refuse_by_now(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await reserve(ours, product, 10, "k")
    assert (await reserve(ours, product, 10, "k")).replayed
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 10, "another")


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
async def test_what_is_decided_next_is_decided_on_what_was_stored(
    ours: WriteSide, proxy: Proxy, product: UUID, stored: bool
) -> None:
    if stored:
        proxy.lose_the_next_answer()
    else:
        proxy.lose_the_next_request()
    with pytest.raises(OutcomeUnknown):
        await reserve(ours, product, 10)
    if stored:
        with pytest.raises(OutOfStock):
            await reserve(ours, product, 1)
    else:
        assert (await reserve(ours, product, 1)).version == 2


async def test_a_refusal_that_could_not_be_confirmed_is_not_given(ours: WriteSide, proxy: Proxy, product: UUID) -> None:
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await reserve(ours, product, 11)
    with pytest.raises(OutOfStock):
        await reserve(ours, product, 11)


async def test_that_a_stream_was_not_there_once_is_no_reason_to_say_so_again(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    another = uuid4()
    proxy.lose_the_next_answer()
    with pytest.raises(OutcomeUnknown):
        await reserve(ours, another, 1)
    async with write_side(database_url) as theirs:
        await receive(theirs, another, 5)
    assert (await ours.commands.read_cached(INVENTORY, another)).available == 5


async def test_a_whole_chain_whose_answer_is_lost_is_told_once_for_each_key(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    def send() -> list[asyncio.Task[CommandOutcome]]:
        return [asyncio.create_task(receive(ours, product, number, f"k{number}")) for number in range(1, 17)]

    proxy.lose_the_next_answer()
    lost = await asyncio.gather(*send(), return_exceptions=True)
    assert {type(each) for each in lost} == {OutcomeUnknown}
    told = await asyncio.gather(*send())
    assert all(outcome.replayed for outcome in told)
    assert sorted(outcome.version for outcome in told) == list(range(2, 18))
    assert await pieces(database_url, product) == (10 + sum(range(1, 17)), [])


async def insist(side: WriteSide, product: UUID, key: str) -> CommandOutcome:
    """A client that repeats its key until it has an answer."""
    while True:
        try:
            return await receive(side, product, 1, key)
        except (OutcomeUnknown, Unavailable, TooBusy):
            continue


async def test_clients_who_insist_are_served_exactly_once_each_over_a_line_that_keeps_breaking(
    ours: WriteSide, proxy: Proxy, product: UUID, database_url: str
) -> None:
    faults = cycle([proxy.lose_the_next_answer, proxy.lose_the_next_request])

    async def client(name: int) -> list[CommandOutcome]:
        outcomes = []
        for number in range(12):
            if (name + number) % 12 == 0:
                next(faults)()
            outcomes.append(await insist(ours, product, f"{name}-{number}"))
        return outcomes

    served = await asyncio.gather(*[client(name) for name in range(16)])
    outcomes = [outcome for each in served for outcome in each]
    assert proxy.hits >= 3
    assert any(outcome.replayed for outcome in outcomes)
    assert sorted(outcome.version for outcome in outcomes) == list(range(2, 194))
    assert await pieces(database_url, product) == (202, [])
