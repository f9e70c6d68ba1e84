"""kill -9 of every process, one after the other, while customers order: nothing is lost, nothing is doubled.

So it is too while the mail server hangs, Redis has no memory left, and a transaction stays open in Postgres.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from cli.supervisor import Backoff, Options, Stack
from tests.faults import audit
from tests.faults.burdens import Unburdened
from tests.faults.customers import Shoppers
from tests.faults.ground import OWN, Ground, killed
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

QUICK = Backoff(first=0.1, most=1.0, calm=60)
BEFORE, AFTER = 1.5, 2.0
"""Seconds of load around each fault."""
IN_TIME = timedelta(seconds=2)
"""How late an order may end that nobody has paid."""
PROCESSES = {f"{name} killed": killed(name) for name in ("relay", "projections", "tasks", "api")}


@asynccontextmanager
async def a_shop(
    directory: Path, customers: int = 6, *, burdens: Unburdened | None = None, ground: Ground = OWN
) -> AsyncIterator[tuple[Stack, Shoppers]]:
    """The whole system, with customers inside."""
    burdens = burdens or Unburdened()
    options = Options(
        directory=directory,
        database_url=ground.database_url,
        redis_url=ground.redis_url,
        backoff=QUICK,
        drain_seconds=5.0,
        programs=burdens.programs,
    )
    with ground.named():
        async with _entered(options, burdens, customers, ground.fails_over) as (stack, shoppers):
            yield stack, shoppers


@asynccontextmanager
async def _entered(
    options: Options, burdens: Unburdened, customers: int, fails_over: bool
) -> AsyncIterator[tuple[Stack, Shoppers]]:
    async with (
        Stack(options) as stack,
        burdens.on(stack),
        httpx2.AsyncClient(base_url=stack.api_url, timeout=10) as http,
    ):
        shoppers = Shoppers(stack, http, customers, fails_over=fails_over)
        await shoppers.enter()
        yield stack, shoppers


async def settled(stack: Stack, shoppers: Shoppers, burdens: Unburdened | None = None) -> list[str]:
    """What is wrong once everything has been applied and sent."""
    async with connected(stack.direct_url) as connection:
        await eventually(lambda: audit.applied(connection), 120)
        in_vain = await (burdens or Unburdened()).let_mail_through()
        await eventually(lambda: audit.caught_up(connection), 120)
        return await audit.books(connection, shoppers.acknowledged, stack.mail_dir, in_vain)


async def an_unpaid_order_ends_in_time(stack: Stack, shoppers: Shoppers) -> None:
    """An order whose time is over in a moment."""
    order = await shoppers.order_without_paying(timedelta(seconds=1.5))
    async with connected(stack.direct_url) as connection:

        async def late() -> timedelta | None:
            found: timedelta | None = await connection.fetchval(
                "SELECT c.recorded_at - (p.data ->> 'expires_at')::timestamptz FROM events c JOIN events p"
                " USING (stream_id) WHERE p.version = 1 AND stream_id = $1 AND c.type = 'order.cancelled'",
                order,
            )
            return found

        async def ended() -> bool:
            return await late() is not None

        await eventually(ended, 30)
        found = await late()
    assert found is not None
    assert timedelta(0) <= found < IN_TIME


async def served_as_stored(stack: Stack, shoppers: Shoppers) -> None:
    """What the API serves through its caches is what the read model holds."""
    async with connected(stack.direct_url) as connection:
        for order, document in list((await audit.documents(connection, "order_summary")).items())[-20:]:
            assert await shoppers.document(f"/v1/orders/{order}") == document
        for product, document in (await audit.documents(connection, "product_card")).items():
            assert await shoppers.document(f"/v1/products/{product}") == document


async def test_whatever_is_killed_under_load_nothing_is_lost_and_nothing_doubled(
    tmp_path: Path, burdens: Unburdened, ground: Ground
) -> None:
    async with a_shop(tmp_path, burdens=burdens, ground=ground) as (stack, shoppers):
        shopping = asyncio.create_task(shoppers.shop())
        for fault, befall in {**PROCESSES, **ground.befalls}.items():
            before = len(shoppers.acknowledged.positions)
            await asyncio.sleep(BEFORE)
            assert len(shoppers.acknowledged.positions) > before, f"no load before: {fault}"
            await burdens.are_borne()
            await befall(stack)
            await asyncio.sleep(AFTER)
        await an_unpaid_order_ends_in_time(stack, shoppers)
        shoppers.stop()
        await shopping
        assert await settled(stack, shoppers, burdens) == []
        await served_as_stored(stack, shoppers)
        assert shoppers.unexpected == []
        assert len(shoppers.acknowledged.placed) > 100
