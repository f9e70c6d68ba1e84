"""kill -9 of Postgres when it has said that read models are committed, which it does before they are on the disk.

Whoever shows the token of a write is never shown a list or a document that lacks it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.messages import shard_of
from infra.consistency import encode
from infra.embedded import Postgres
from infra.endings import end
from infra.schema import migrate
from infra.settings import Settings
from tests.builders import order_placed
from tests.conftest import SHARDS
from tests.consumers import Scene
from tests.consumers import scene as opened
from tests.event_logs import order
from tests.shop import Client, shop
from tests.write_side import connected, eventually
from workers.projections import READ_MODELS

pytestmark = pytest.mark.anyio

QUIET: Final = 60.0
"""Seconds of leases: none is renewed meanwhile, by a commit that would take those before it to the disk."""
LOOKS: Final = 10
NOT_NOW: Final = {(503, "unavailable"), (503, "not-yet-visible")}


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Somebody who has ordered, and shows the token of that."""

    client: Client
    order: UUID
    token: str

    async def finds(self, path: str) -> bool:
        """Whether the order is there. No answer lacks it, unless it says that this cannot be told for now."""
        answer = await self.client.send("GET", path, Consistency_Token=self.token, Prefer="wait=0")
        if answer.status_code == 200:
            assert str(self.order) in answer.text, f"{path} lacks the order"
            return True
        assert (answer.status_code, answer.json()["code"]) in NOT_NOW, answer.text
        return False

    async def finds_everything(self) -> bool:
        """The same of the list and of the document; both are asked for."""
        return all([await self.finds("/v1/orders"), await self.finds(f"/v1/orders/{self.order}")])


@asynccontextmanager
async def projecting(settings: Settings) -> AsyncIterator[None]:
    """A projections worker, which ends as if it were killed."""
    task = asyncio.create_task(READ_MODELS.run(settings, CollectorRegistry(), asyncio.Event()))
    try:
        yield
    finally:
        await end(task)


@asynccontextmanager
async def crash_prone(directory: Path) -> AsyncIterator[Postgres]:
    """A server that brings to the disk what has to be there, and the rest in its own time."""
    server = Postgres(directory, settings={"wal_writer_delay": "10s"})
    async with server.running() as url:
        await migrate(SecretStr(url), shards=SHARDS)
        yield server


async def writes_nothing_in_passing(server: Postgres) -> None:
    """From now on only those who wait for the disk bring anything there."""
    async with connected(server.admin_url) as connection:
        writer = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    os.kill(writer, signal.SIGSTOP)


async def crashed(server: Postgres) -> None:
    server.process.send(signal.SIGKILL)
    await server.process.exited()


async def applied_to(server: Postgres, shard: int) -> int:
    """How far the orders are in a shard. Their worker is dead, and its lease is over."""
    async with connected(server.url) as connection:
        await connection.execute("DELETE FROM workers")
        position: int = await connection.fetchval(
            "SELECT position FROM checkpoints WHERE consumer = 'order_summary' AND shard = $1", shard
        )
        return position


async def ordered(scene: Scene, client: Client) -> tuple[Customer, int, int]:
    """An order that was written a moment ago, and where: shard and position."""
    order_id = scene.shop.id()
    placed = order_placed(order_id=order_id, customer_id=client.id)
    (position,) = await scene.writer.append([order(order_id, placed)])
    shard = shard_of(order_id, SHARDS)
    return Customer(client=client, order=order_id, token=encode({shard: position})), shard, position


@pytest.mark.parametrize("emptied", [False, True], ids=["Redis has it still", "Redis was emptied"])
async def test_after_a_crash_nobody_is_shown_less_than_was_told(tmp_path: Path, redis_url: str, emptied: bool) -> None:
    async with crash_prone(tmp_path) as server:
        told: dict[str, Any] = {"database_url": server.url, "redis_url": redis_url, "shards": SHARDS, "port": 0}
        settings = Settings.model_validate({**told, "data_dir": tmp_path, "lease_seconds": QUIET, "l1_entries": 0})
        async with opened(settings) as scene, shop(settings) as door, scene.relay():
            client = await door.client()
            async with projecting(settings):
                await scene.happens(50)
                await scene.reached("order_summary")
                await writes_nothing_in_passing(server)
                customer, shard, position = await ordered(scene, client)
                await eventually(customer.finds_everything)
                await crashed(server)
            await server.start()
            assert await applied_to(server, shard) < position, "nothing was lost"
            if emptied:
                await scene.redis.flushdb()
            for _ in range(LOOKS):
                assert not await customer.finds("/v1/orders")
                await customer.finds(f"/v1/orders/{customer.order}")
            async with projecting(settings):
                await eventually(customer.finds_everything, 20)
