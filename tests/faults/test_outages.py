"""A server is away for a while: what still works does, what does not says so in time.

So it is too while the mail server hangs, Redis has no memory left, and a transaction stays open in Postgres.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from cli.supervisor import Stack
from tests.faults.burdens import Unburdened
from tests.faults.customers import STOCK
from tests.faults.test_kills import a_shop, an_unpaid_order_ends_in_time, settled
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio


async def told(stack: Stack) -> bool:
    """Whether all that the product pages' consumers have committed has been announced."""
    async with connected(stack.database_url) as connection:
        behind = await connection.fetchval(
            "SELECT count(*) FROM checkpoints c JOIN projections p ON p.name = c.consumer"
            " AND p.live_generation = c.generation WHERE p.name = 'product_card' AND (c.refreshed < c.position"
            " OR c.position < coalesce((SELECT max(position) FROM events WHERE shard = c.shard), 0))"
        )
    return bool(behind == 0)


async def test_with_postgres_away_writes_say_so_in_two_seconds_and_cached_reads_answer(
    tmp_path: Path, burdens: Unburdened
) -> None:
    async with a_shop(tmp_path, customers=1, burdens=burdens) as (stack, shoppers):
        path = f"/v1/products/{shoppers.products[0]}"

        async def readable() -> bool:
            answer = await shoppers.http.get(path)
            return answer.status_code == 200 and answer.json()["stock_available"] == STOCK

        await eventually(partial(told, stack), 15)  # later news of the product would drop it where it is kept
        await eventually(readable, 15)
        before = (await shoppers.http.get(path)).json()
        async with stack.down("postgres"):
            for _ in range(3):
                started = monotonic()
                answer = await shoppers.order()
                assert monotonic() - started < 2.0
                assert answer.status_code == 503, answer.text
                assert answer.json()["code"] in ("unavailable", "outcome-unknown")
                assert answer.headers["Retry-After"]
            assert (await shoppers.http.get(path)).json() == before
            unknown = await shoppers.http.get(f"/v1/products/{uuid4()}")
            assert unknown.status_code == 503
        await burdens.are_borne()
        await shoppers.order_and_pay()
        assert await settled(stack, shoppers, burdens) == []


async def test_with_valkey_away_writes_succeed_and_reads_fall_back(tmp_path: Path, burdens: Unburdened) -> None:
    async with a_shop(tmp_path, customers=1, burdens=burdens) as (stack, shoppers):
        async with stack.down("valkey"):
            receipt = await shoppers.order_and_pay()
            document = await shoppers.read_back(receipt)
            assert document["status"] == "paid"
            assert (await shoppers.document(f"/v1/products/{shoppers.products[0]}"))["sku"]
            await an_unpaid_order_ends_in_time(stack, shoppers)
        await shoppers.order_and_pay()
        assert await settled(stack, shoppers, burdens) == []


REFUSALS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "a replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "short of replicas": (
        ("CONFIG", "SET", "min-replicas-to-write", "1"),
        ("CONFIG", "SET", "min-replicas-to-write", "0"),
    ),
    "not for us": (("ACL", "SETUSER", "default", "-@write"), ("ACL", "SETUSER", "default", "+@all")),
}
"""What a Valkey is that answers and takes no writes; how it becomes that, and how it was before."""


@pytest.mark.parametrize("manner", REFUSALS)
async def test_a_valkey_that_answers_and_takes_no_writes_is_as_one_that_is_away(tmp_path: Path, manner: str) -> None:
    begin, end = REFUSALS[manner]
    async with a_shop(tmp_path, customers=1) as (stack, shoppers), Redis.from_url(stack.redis_url) as valkey:

        async def health() -> dict[str, str]:
            answer = (await shoppers.http.get("/health")).json()
            return {"": answer["status"], **{each["name"]: each["status"] for each in answer["components"]}}

        await valkey.execute_command(*begin)
        told = await health()
        assert (told[""], told["redis"]) == ("degraded", "unavailable")
        for _ in range(3):
            receipt = await shoppers.order_and_pay()
            assert (await shoppers.read_back(receipt))["status"] == "paid"
        await an_unpaid_order_ends_in_time(stack, shoppers)
        await valkey.execute_command(*end)
        await shoppers.order_and_pay()
        assert await settled(stack, shoppers) == []
        assert (await health())["redis"] == "ok"
