"""kill -9 of every process, one after the other, while customers order: nothing is lost, nothing is doubled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis

from cli.supervisor import Backoff, Options, Stack
from tests.faults import audit
from tests.faults.customers import Shoppers
from tests.write_side import connected, eventually

pytestmark = pytest.mark.anyio

QUICK = Backoff(first=0.1, most=1.0, calm=60)
BEFORE, AFTER = 1.5, 2.0
"""Seconds of load around each fault."""
VICTIMS = ("relay", "projections", "tasks", "api", "valkey", "postgres")


@asynccontextmanager
async def a_shop(directory: Path, customers: int = 6) -> AsyncIterator[tuple[Stack, Shoppers]]:
    """The whole system, with customers inside."""
    options = Options(directory=directory, backoff=QUICK, drain_seconds=5.0)
    async with Stack(options) as stack, httpx2.AsyncClient(base_url=stack.api_url, timeout=10) as http:
        shoppers = Shoppers(stack, http, customers)
        await shoppers.enter()
        yield stack, shoppers


async def settled(stack: Stack, shoppers: Shoppers) -> list[str]:
    """What is wrong once everything has been applied and sent."""
    async with connected(stack.database_url) as connection:
        await eventually(lambda: audit.caught_up(connection), 120)
        return await audit.books(connection, shoppers.acknowledged, stack.mail_dir)


async def served_as_stored(stack: Stack, shoppers: Shoppers) -> None:
    """What the API serves through its caches is what the read model holds."""
    async with connected(stack.database_url) as connection:
        for order, document in list((await audit.documents(connection, "order_summary")).items())[-20:]:
            assert await shoppers.document(f"/v1/orders/{order}") == document
        for product, document in (await audit.documents(connection, "product_card")).items():
            assert await shoppers.document(f"/v1/products/{product}") == document


async def test_whatever_is_killed_under_load_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as (stack, shoppers):
        shopping = asyncio.create_task(shoppers.shop())
        for victim in VICTIMS:
            before = len(shoppers.acknowledged.positions)
            await asyncio.sleep(BEFORE)
            assert len(shoppers.acknowledged.positions) > before, f"no load before {victim} was killed"
            await stack.kill(victim)
            await stack.restarted(victim)
            await asyncio.sleep(AFTER)
        async with Redis.from_url(stack.redis_url) as redis:
            await redis.flushall()
        await asyncio.sleep(AFTER)
        shoppers.stop()
        await shopping
        assert await settled(stack, shoppers) == []
        await served_as_stored(stack, shoppers)
        assert shoppers.unexpected == []
        assert len(shoppers.acknowledged.placed) > 100
