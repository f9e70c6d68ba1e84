"""kill -9 of Postgres, with all its processes, when it has said that read models are committed, which it does before
they are on the disk.

What is lost is no matter of chance here: the order is the last that anybody waits for the disk with, and nothing else
brings anything there. Whoever shows the token of a write is never shown a list or a document that lacks it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.kernel.messages import shard_of
from domain.orders import OrderPaid, OrderPlaced
from infra.concurrency.cancellation import cancel_and_wait
from infra.embedded import Postgres
from infra.eventsourcing.consistency_token import encode
from infra.eventsourcing.read_cache import read_side
from infra.eventsourcing.read_cache.staleness_monitor import Watch
from infra.eventsourcing.read_cache.visibility import ProjectionShard, Visibility
from infra.postgres.schema_version import migrate
from infra.settings import Settings
from tests.conftest import SHARDS
from tests.support.builders import order_paid, order_placed
from tests.support.consumers import Scene
from tests.support.consumers import scene as opened
from tests.support.event_logs import order
from tests.support.shop import Client, shop
from tests.support.write_side import connected, eventually
from workers.projections import READ_MODELS

pytestmark = pytest.mark.anyio

FORGETFUL: Final = {
    "synchronous_commit": "off",  # of all but the log, whose session says otherwise
    "wal_writer_delay": "10s",
    "autovacuum": "off",
    "bgwriter_lru_maxpages": "0",
    "checkpoint_timeout": "1h",
}
"""A server that brings to the disk what somebody waits for, with all before it, and nothing in passing."""
LEASE_SECONDS: Final = 60.0
LOOKS: Final = 10
NOT_NOW: Final = {(503, "unavailable"), (503, "not-yet-visible")}


@pytest.fixture(autouse=True)
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has just started, for as long as a test takes."""
    monkeypatch.setattr(read_side, "SETTLE_SECONDS", 300.0)


@dataclass(frozen=True, kw_only=True)
class Customer:
    """Somebody who has an order, and shows the token of the last that has become of it. ``shows``: what tells of it."""

    client: Client
    order: UUID
    shows: str
    token: str

    async def finds(self, path: str) -> bool:
        """Whether the write is there. No answer lacks it, unless it says that this cannot be told for now."""
        answer = await self.client.send("GET", path, Consistency_Token=self.token, Prefer="wait=0")
        if answer.status_code == 200:
            assert self.shows in answer.text, f"{path} lacks the write"
            return True
        assert (answer.status_code, answer.json()["code"]) in NOT_NOW, answer.text
        return False

    async def finds_everything(self) -> bool:
        """The same of the list and of the document; both are asked for."""
        return all([await self.finds("/v1/orders"), await self.finds(f"/v1/orders/{self.order}")])

    async def looks_without_the_token(self) -> None:
        """As who knows nothing of the write: what is found, and brought to the cache, may be of before it."""
        for path in ("/v1/orders", f"/v1/orders/{self.order}"):
            assert (await self.client.send("GET", path)).status_code in (200, 404)


@asynccontextmanager
async def projecting(settings: Settings) -> AsyncIterator[None]:
    """A projections worker, which ends as if it were killed."""
    task = asyncio.create_task(READ_MODELS.run(settings, CollectorRegistry(), asyncio.Event()))
    try:
        yield
    finally:
        await cancel_and_wait(task)


@asynccontextmanager
async def forgetful(directory: Path) -> AsyncIterator[Postgres]:
    """Such a server, with the schema."""
    server = Postgres(directory, settings=FORGETFUL)
    async with server.running() as url:
        await migrate(SecretStr(url), shards=SHARDS)
        yield server


async def writes_nothing_in_passing(server: Postgres) -> None:
    """Its writer of the log would wake up some time within its ten seconds."""
    async with connected(server.admin_url) as connection:
        writer = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    os.kill(writer, signal.SIGSTOP)


async def crash(server: Postgres) -> None:
    """None of its processes has a moment for last words, nor the server's for having them end in order."""
    postmaster = psutil.Process(server.process.pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.suspend()
    for process in processes:
        process.kill()
    await server.process.exited()


async def applied_to(server: Postgres, shard: int) -> int:
    """How far the orders are in a shard. Their worker is dead, and its lease is over."""
    async with connected(server.url) as connection:
        await connection.execute("DELETE FROM workers")
        position: int = await connection.fetchval(
            "SELECT position FROM checkpoints WHERE consumer = 'order_summary' AND shard = $1", shard
        )
        return position


async def written(scene: Scene, order_id: UUID, event: OrderPlaced | OrderPaid) -> tuple[int, str]:
    """Writes an event of an order, which is on the disk then with all before it; answers its position and token."""
    await scene.writer.session.execute("SET synchronous_commit = on")
    (position,) = await scene.writer.append([order(order_id, event)])
    return position, encode({shard_of(order_id, SHARDS): position})


async def _has_come(heard: Sequence[int] | None, position: int) -> bool:
    return heard is None or max(heard) >= position


@pytest.mark.parametrize("emptied", [False, True], ids=["Redis has it still", "Redis was emptied"])
@pytest.mark.parametrize("lost", ["an order", "a payment"])
async def test_after_a_crash_nobody_is_shown_less_than_was_told(
    tmp_path: Path, redis_url: str, lost: str, emptied: bool
) -> None:
    await crashed(tmp_path, redis_url, lost=lost, emptied=emptied)


async def test_nor_by_a_process_that_has_not_noticed_it(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would within a second. Here it never does."""
    monkeypatch.setattr(Watch, "_notice_restart", lambda _watch, _rows: None)
    heard, told = [0], Visibility.told

    def hears(visibility: Visibility, part: ProjectionShard, position: int) -> None:
        told(visibility, part, position)
        heard.append(position if part.projection == "order_summary" else 0)

    monkeypatch.setattr(Visibility, "told", hears)
    await crashed(tmp_path, redis_url, lost="a payment", emptied=True, heard=heard)


async def crashed(
    tmp_path: Path, redis_url: str, *, lost: str, emptied: bool, heard: Sequence[int] | None = None
) -> None:
    """``heard``: how far the read model is told to be; the crash waits until it has come to the write."""
    async with forgetful(tmp_path) as server:
        told: dict[str, Any] = {"database_url": server.url, "redis_url": redis_url, "shards": SHARDS, "port": 0}
        settings = Settings.model_validate(
            {**told, "data_dir": tmp_path, "lease_seconds": LEASE_SECONDS, "l1_entries": 0}
        )
        async with opened(settings) as scene, shop(settings) as door, scene.relay():
            client, order_id = await door.client(), scene.shop.id()
            placed = order_placed(order_id=order_id, customer_id=client.id)
            async with projecting(settings):
                if lost == "a payment":
                    await written(scene, order_id, placed)
                await scene.happens(50)
                await scene.reached("order_summary")
                await writes_nothing_in_passing(server)
                position, token = await written(scene, order_id, placed if lost == "an order" else order_paid())
                shows = str(order_id) if lost == "an order" else '"status":"paid"'
                customer = Customer(client=client, order=order_id, shows=shows, token=token)
                await eventually(customer.finds_everything)
                await eventually(partial(_has_come, heard, position))
                await crash(server)
            await server.start()
            assert await applied_to(server, shard_of(order_id, SHARDS)) < position, "nothing is lost"
            if emptied:
                await scene.redis.flushdb()
            async with shop(settings) as another:
                stranger = replace(customer, client=replace(client, http=another.http))
                for _ in range(LOOKS):
                    await stranger.looks_without_the_token()
                    for each in (customer, stranger):
                        assert not await each.finds("/v1/orders")
                        await each.finds(f"/v1/orders/{order_id}")
                async with projecting(settings):
                    for each in (customer, stranger):
                        await eventually(each.finds_everything, 20)
