"""The main job through the public API, with every process running; and a rebuild in the middle of it."""

import asyncio
import sys
from pathlib import Path

import httpx2
import pytest

from cli.demo import shop_of
from cli.demo.journey import Journey
from cli.supervisor import Options, Stack
from projections.registry import PROJECTIONS
from tests.faults import audit
from tests.faults.test_kills import a_shop, settled
from tests.support.write_side import connected

pytestmark = pytest.mark.anyio

REBUILT = ("order_summary", "product_card")


async def test_three_orders_go_their_ways_through_every_process(tmp_path: Path) -> None:
    async with Stack(Options(directory=tmp_path)) as stack, httpx2.AsyncClient(base_url=stack.api_url) as http:
        titles = [step.title async for step in Journey(shop_of(stack), http).steps()]
    assert titles.count("mail in the box") == 6
    assert titles[titles.index("dashboard exact") + 1 :] == [
        *("order.placed", "order.paid", "order.shipped", "order.completed"),
        *("order.placed", "order.cancelled", "order.overpaid", "order.money_returned"),
        *("order.placed", "order.paid", "order.refunded", "order.money_returned"),
    ]


async def test_a_read_model_is_rebuilt_while_customers_order_and_read(tmp_path: Path) -> None:
    async with a_shop(tmp_path, customers=3) as (stack, shoppers):
        shopping = asyncio.create_task(shoppers.shop())
        for projection in REBUILT:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli.main", "replay", projection, env=stack.environment
            )
            assert await asyncio.wait_for(process.wait(), 60) == 0
            paid = await shoppers.order_and_pay()
            assert (await shoppers.read_back(paid))["status"] == "paid"
        shoppers.stop()
        await shopping
        assert await settled(stack, shoppers) == []
        async with connected(stack.database_url) as connection:
            served = await connection.fetch("SELECT name, live_generation FROM projections")
            assert {tuple(row) for row in served} == {(name, 2 if name in REBUILT else 1) for name in PROJECTIONS}
            for order, document in (await audit.documents(connection, "order_summary")).items():
                assert await shoppers.document(f"/v1/orders/{order}") == document
