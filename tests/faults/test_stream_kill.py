"""Event streams over two API processes, of which one is killed, and over a Valkey that goes away in the middle."""

import asyncio
import random
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from domain.accounts import Role
from infra.configs import pool_of, relay_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.event_logs import Shop, log_writer
from tests.support.listening import listening
from tests.support.people import has_account
from tests.support.proxy import proxy_before
from tests.support.serving import served
from tests.support.shop import bearer
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

READERS = 6


class Reader:
    """A client that comes back wherever an API answers, behind the last event that it has had."""

    def __init__(self, ports: list[int], headers: Mapping[str, str], first: int) -> None:
        self._ports = ports
        self._headers = headers
        self._turns = count(first)
        self.positions: list[int] = []
        self.comebacks = -1

    async def read(self) -> None:
        """Until cancelled."""
        async with httpx2.AsyncClient(timeout=20) as http:
            while True:
                port = self._ports[next(self._turns) % len(self._ports)]
                try:
                    await self._listen(http, f"http://127.0.0.1:{port}/v1/events")
                except httpx2.TransportError:
                    await asyncio.sleep(0.02)

    async def _listen(self, http: httpx2.AsyncClient, url: str) -> None:
        last = str(self.positions[-1]) if self.positions else None
        async with listening(http, url, self._headers, last=last) as stream:
            self.comebacks += 1
            while (told := await stream.next(60)) is not None:
                self.positions.append(told["position"])


async def test_every_reader_has_every_event_once_and_in_order_whatever_dies(settings: Settings, tmp_path: Path) -> None:
    database = Database(pool_of(settings))
    await has_account(database, account_id := uuid4(), *Role)
    headers = await bearer(settings, account_id, *Role)
    async with proxy_before(settings.redis_url.get_secret_value()) as valkey:
        settings = settings.model_copy(update={"redis_url": SecretStr(valkey.url)})
        async with database.acquire() as session:
            log = await identify(session, CODEC)
        relay, stop = Relay(database, log, relay_of(settings), RelayMetrics(CollectorRegistry())), asyncio.Event()
        async with (
            served(settings, tmp_path / "a.log") as doomed,
            served(settings, tmp_path / "b.log") as other,
            log_writer(settings.database_url.get_secret_value()) as writer,
        ):
            relaying = asyncio.create_task(relay.run(stop))
            readers = [Reader([doomed.port, other.port], headers, number) for number in range(READERS)]
            reading = [asyncio.create_task(reader.read()) for reader in readers]
            shop, chance = Shop.of(5), random.Random(5)

            async def have(position: int) -> bool:
                return all(position <= (each.positions or [0])[-1] for each in readers)

            async def happens(events: int) -> int:
                """So many events in small commits; answers the last position, once all readers have come near it."""
                last = 0
                for _ in range(events):
                    last = (await writer.append(shop.happenings(chance.randint(1, 4))))[-1]
                await eventually(lambda: have(last - 20), 30)
                return last

            await happens(30)
            doomed.process.kill()
            await happens(30)
            await valkey.close()
            await happens(30)
            await valkey.open()
            last = await happens(30)
            await eventually(lambda: have(last), 30)
            for each in (*reading, relaying):
                each.cancel()
            await asyncio.gather(*reading, relaying, return_exceptions=True)
    await database.close()
    assert [reader.positions for reader in readers] == [list(range(1, last + 1))] * READERS
    assert sum(reader.comebacks for reader in readers) >= READERS // 2
