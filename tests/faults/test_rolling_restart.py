"""A new release while customers order: no request that was sent is broken off, and each order is there once."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.settings import Settings
from tests.support.fleets import alive, all_serve, told, until
from tests.support.sale import invited, sale
from tests.support.serving import Served, served
from tests.support.steady_load import SteadyLoad, steady_load
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

OPEN: Final[Mapping[str, str]] = {
    "WEIR_RATE_LIMITS": "off",
    "WEIR_UNPAID_ORDERS_MOST": "0",
    "WEIR_UNPAID_PIECES_MOST": "0",
}


@asynccontextmanager
async def customers_at(settings: Settings, *servers: Served) -> AsyncIterator[SteadyLoad]:
    """They order one thing after another at these servers, until the end of the block."""
    ports = [server.port for server in servers]
    async with sale(settings, ports, stock=100_000) as (opened, tokens):
        (customer,) = await invited(tokens, [1])
        async with steady_load(ports, customer.token, opened.product) as load:
            yield load


async def assert_that_nothing_was_lost(load: SteadyLoad, database_url: str) -> None:
    assert load.lost == {}
    assert {*load.answers} == {200, 201}
    assert load.farewells, "somebody was sent away, and came back"
    async with connected(database_url) as connection:
        rows = await connection.fetch("SELECT stream_id FROM events WHERE type = 'order.placed'")
    assert Counter(row["stream_id"] for row in rows) == Counter(load.orders)


async def test_workers_that_are_replaced_one_by_one_lose_no_request(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    async with served(settings, tmp_path / "log", WEIR_SERVE_WORKERS="2", **OPEN) as server:
        former = await all_serve(server, 2)
        async with customers_at(settings, server) as load:
            await load.more(20)
            server.process.send_signal(signal.SIGHUP)
            await until(lambda: not alive(former), 60)
            await load.more(20)
        await assert_that_nothing_was_lost(load, database_url)
        answered_by = {line["pid"] for line in told(server, "request")}
        assert former & answered_by
        assert answered_by - former
        assert server.process.pid not in answered_by
        assert await server.stop() == 0


async def test_processes_that_are_replaced_one_by_one_lose_no_request(
    settings: Settings, database_url: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        opened = [served(settings, tmp_path / f"log{n}", **OPEN) for n in range(2)]
        first, second = [await stack.enter_async_context(each) for each in opened]
        async with customers_at(settings, first, second) as load:
            await load.more(20)
            assert await first.stop() == 0
            await load.more(20)
            again = served(settings, tmp_path / "log3", WEIR_PORT=str(first.port), **OPEN)
            await stack.enter_async_context(again)
            assert await second.stop() == 0
            await load.more(20)
        await assert_that_nothing_was_lost(load, database_url)
