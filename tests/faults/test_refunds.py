"""The payment provider is away, and workers are killed in the middle: what is owed goes back exactly once."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from cli.supervisor import Stack
from cli.supervisor.credentials import PROVIDER_KEY
from infra.payments.provider import Refund
from tests.faults.customers import Shoppers
from tests.faults.test_kills import a_shop, settled
from tests.support.builders import euros
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


def given(stack: Stack) -> list[tuple[str, str]]:
    """Payment and key of every refund in the provider's book."""
    lines = (stack.wiring.directory / "provider" / "refunds.ndjson").read_text().splitlines()
    return [(refund["payment_id"], refund["key"]) for refund in map(json.loads, lines)]


@asynccontextmanager
async def desk(stack: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    """The provider's counter, for whoever has the key."""
    headers = {"Authorization": f"Bearer {stack.wiring.secrets[PROVIDER_KEY]}"}
    async with httpx2.AsyncClient(base_url=stack.wiring.provider_url, headers=headers) as http:
        yield http


async def refunded(shoppers: Shoppers, count: int) -> list[str]:
    """So many orders, paid and refunded; answers their payments, once the API has acknowledged all."""
    payments = []
    for _ in range(count):
        order = (await shoppers.order_and_pay()).json()["id"]
        await shoppers.refund(order)
        payments.append(f"pay_{order}")
    return payments


async def column(stack: Stack, expression: str) -> list[Any]:
    async with connected(stack.database_url) as connection:
        return [row[0] for row in await connection.fetch(f"SELECT {expression} FROM refund_ledger ORDER BY position")]


async def returned_once(stack: Stack, payments: list[str], seconds: float = 60) -> None:
    """Waits until the orders tell that all the money went back, and looks into the provider's book."""

    async def told() -> bool:
        async with connected(stack.database_url) as connection:
            rows = await connection.fetch(
                "SELECT data ->> 'payment_id' FROM events WHERE type = 'order.money_returned'"
            )
        found = Counter(row[0] for row in rows)
        assert max(found.values(), default=1) == 1
        return found.keys() == set(payments)

    await eventually(told, seconds)
    expected = {(payment, Refund(payment_id=payment, amount=euros("1")).key) for payment in payments}
    assert sorted(given(stack)) == sorted(expected)


async def test_a_provider_that_is_away_leaves_refunds_owed_and_gives_each_back_once_when_it_is_there(
    tmp_path: Path,
) -> None:
    async with a_shop(tmp_path, customers=1) as (stack, shoppers):
        async with stack.down("provider"):
            payments = await refunded(shoppers, 8)

            async def tried() -> bool:
                errors = await column(stack, "coalesce(last_error, '')")
                return len(errors) == 8 and "connection refused" in errors

            await eventually(tried, 20)
            assert given(stack) == []
        await returned_once(stack, payments)
        assert await settled(stack, shoppers) == []


async def test_a_tasks_worker_killed_after_the_call_and_before_the_write_gives_nothing_back_twice(
    tmp_path: Path,
) -> None:
    async with a_shop(tmp_path, customers=1) as (stack, shoppers), desk(stack) as provider:
        assert (await provider.put("/control", json={"kind": "lose"})).status_code == 200
        payments = await refunded(shoppers, 3)

        async def all_given() -> bool:
            return len(given(stack)) == 3

        await eventually(all_given, 20)
        async with stack.down("tasks"):
            assert set(await column(stack, "returned_at IS NULL")) == {True}
            assert (await provider.put("/control", json={})).status_code == 200
            async with connected(stack.database_url) as connection:  # as if half a minute had passed
                await connection.execute("UPDATE refund_ledger SET leased_until = now(), due_at = now()")
        await returned_once(stack, payments)
        assert await settled(stack, shoppers) == []


async def test_while_the_provider_hangs_the_api_answers_and_has_not_even_been_told_where_it_is(tmp_path: Path) -> None:
    async with a_shop(tmp_path, customers=1) as (stack, shoppers), desk(stack) as provider:
        await provider.put("/control", json={"kind": "hang"})
        payments = await refunded(shoppers, 4)
        order = payments[0].removeprefix("pay_")
        assert (await shoppers.document(f"/v1/orders/{order}/history"))["items"][-1]["type"] == "order.refunded"
        api = psutil.Process(stack.child("api").pid)
        assert not {"WEIR_PAYMENT_PROVIDER_URL", PROVIDER_KEY} & api.environ().keys()
        assert stack.wiring.provider_port not in [port for line in api.net_connections() for port in line.raddr[1:2]]
        await provider.put("/control", json={})
        await returned_once(stack, payments)
        history = (await shoppers.document(f"/v1/orders/{order}/history"))["items"]
        assert history[-1]["type"] == "order.money_returned"
        assert history[-1]["by"] == {"kind": "payment-provider", "account_id": None}


async def test_whatever_is_killed_while_money_goes_back_it_goes_back_once(tmp_path: Path) -> None:
    async with a_shop(tmp_path, customers=1) as (stack, shoppers), desk(stack) as provider:
        await provider.put("/control", json={"kind": "slow", "seconds": 0.3})
        payments = await refunded(shoppers, 6)
        for victim in ("tasks", "provider", "valkey", "tasks"):
            await stack.kill(victim)
            payments += await refunded(shoppers, 2)
            await stack.restarted(victim)
        async with connected(stack.database_url) as connection:
            await connection.execute("UPDATE refund_ledger SET leased_until = now(), due_at = now()")
        await returned_once(stack, payments)
        assert await settled(stack, shoppers) == []
