"""A flash sale at two API processes: not a piece too many, nobody told a lie, nothing twice, even as one is killed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import pytest

from infra.identity.access_tokens import Tokens
from infra.settings import Settings
from tests.support import planted
from tests.support.proxy import proxy_before
from tests.support.sale import Sale, books, invited, sale
from tests.support.serving import Served, served
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

CLIENTS: Final = 500
STOCK: Final = 100
EARLY: Final = 200
"""So many come to the first till alone, before it is killed: nobody else's orders may spoil theirs."""


@asynccontextmanager
async def two_tills(settings: Settings, folder: Path, **first: str) -> AsyncIterator[tuple[Sale, Tokens, Served]]:
    """The sale at two API processes, and the first of them; ``first`` goes into its environment."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(served(settings, folder / "one.log", **first))
        two = await stack.enter_async_context(served(settings, folder / "two.log"))
        running, tokens = await stack.enter_async_context(sale(settings, [one.port, two.port], STOCK))
        yield running, tokens, one


async def test_of_500_who_want_one_of_100_pieces_exactly_100_get_it(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    async with two_tills(settings, tmp_path) as (running, tokens, _):
        customers = await invited(tokens, [1] * CLIENTS)
        await running.open(customers)
    assert running.sold == STOCK
    assert running.uncertain == {}, "everybody is told at once, yes or no"
    async with connected(database_url) as connection:
        assert await books(connection, running, customers, STOCK) == []


async def test_of_500_who_want_one_to_four_nobody_gets_what_is_not_there_or_is_refused_what_is(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    draw = Random(4)
    async with two_tills(settings, tmp_path) as (running, tokens, _):
        customers = await invited(tokens, [draw.randint(1, 4) for _ in range(CLIENTS)])
        await running.open(customers)
    assert running.sold == STOCK, "there is always one who wants the last piece"
    assert running.uncertain == {}
    async with connected(database_url) as connection:
        assert await books(connection, running, customers, STOCK) == []


async def test_a_till_killed_between_its_commit_and_its_answers_sells_nothing_twice_and_nothing_in_vain(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    async with (
        proxy_before(database_url) as proxy,
        two_tills(settings, tmp_path, DATABASE_URL=proxy.url) as (running, tokens, first),
    ):
        customers = await invited(tokens, [1] * CLIENTS)
        async with asyncio.TaskGroup() as group:
            group.create_task(running.open(customers[:EARLY], door=0))
            await eventually(lambda: _begun(running), 20)
            proxy.keep_the_next_answer()
            async with asyncio.timeout(10):
                await proxy.kept.wait()
            # Committed, and nobody has been told.
            group.create_task(running.open(customers[EARLY:]))
            first.process.send_signal(signal.SIGKILL)
        assert await first.process.wait() == -signal.SIGKILL
    assert running.uncertain["unreachable"] > 0
    assert any(customer.replayed for customer in customers), "some were sold before the kill and told after it"
    assert running.sold == STOCK
    async with connected(database_url) as connection:
        assert await books(connection, running, customers, STOCK) == []


async def _begun(running: Sale) -> bool:
    return running.sold > 0


async def test_more_is_sold_than_there_is_once_the_append_compares_no_versions(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    await planted.plant(database_url, *planted.NO_VERSIONS)
    async with two_tills(settings, tmp_path) as (running, tokens, _):
        customers = await invited(tokens, [1] * CLIENTS)
        for door in (0, 1):
            # Both know the stock from now on; what the one sells, the other does not see.
            await running.open(customers[door : door + 1], door=door)
        await running.open(customers[2:])
    async with connected(database_url) as connection:
        wrong = await books(connection, running, customers, STOCK)
    assert running.sold > STOCK
    assert any("available=-" in sentence for sentence in wrong)
