"""A log that is written to, rings by hand, and processes that follow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from domain.orders import OrderPaymentFailed
from infra.configs import pool_of, subscriptions_of
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.subscriptions import Subscriptions
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from tests.support.event_logs import Happening, LogWriter, log_writer, order

NEVER = 3600.0
SOON = 0.05


def failed(order_id: UUID, number: int) -> Happening:
    """An event of which an order may have any number."""
    names: dict[str, Any] = {"order_id": order_id, "order_no": "W-2026-7K3M9QXA", "customer_id": order_id}
    return order(order_id, OrderPaymentFailed(**names, payment_id=f"pay-{number}"))


class Scene:
    """A log that is written to, rings by hand, and a process that follows."""

    def __init__(self, settings: Settings, database: Database, current: CurrentLog, writer: LogWriter, redis: Any):
        self.settings = settings
        self.database = database
        self.current = current
        self.writer = writer
        self.redis = redis
        self.keys = Keyspace.of(current.history)
        self.order_id = uuid4()

    async def happens(self, count: int = 1, stream_id: UUID | None = None) -> int:
        """So many events of the order, or of another; answers its version."""
        stream_id = stream_id or self.order_id
        await self.writer.append([failed(stream_id, number) for number in range(count)])
        return self.writer.versions[stream_id]

    async def ring(self, upto: int, stream_id: UUID | None = None) -> None:
        """As the relay does."""
        stream_id = stream_id or self.order_id
        await self.redis.publish(
            self.keys.stream(stream_id), b'{"stream":"%b","upto":%d}' % (bytes(str(stream_id), "ascii"), upto)
        )

    async def ring_for_the_log(self, upto: int) -> None:
        await self.redis.publish(self.keys.log, b'{"upto":%d}' % upto)

    async def listeners(self, topic: str) -> int:
        ((_, number),) = await self.redis.pubsub_numsub(topic)
        return int(number)

    @asynccontextmanager
    async def process(
        self, *, poll: float = NEVER, redis_url: str | None = None, database: Database | None = None, **more: Any
    ) -> AsyncIterator[Subscriptions]:
        config = replace(subscriptions_of(self.settings), poll_seconds=poll, **more)
        if redis_url is not None:
            config = replace(config, redis_url=SecretStr(redis_url))
        opened = Subscriptions(config, database or self.database, self.current, CollectorRegistry())
        async with opened.running():
            if poll == NEVER:
                assert await opened._channel.ready(5)
            yield opened


@asynccontextmanager
async def scene(settings: Settings) -> AsyncIterator[Scene]:
    """Until the end of the block."""
    database = Database(pool_of(settings))
    async with (
        log_writer(settings.database_url.get_secret_value()) as writer,
        Redis.from_url(settings.redis_url.get_secret_value()) as redis,
    ):
        async with database.acquire() as session:
            current = CurrentLog(await identify(session, CODEC))
        yield Scene(settings, database, current, writer, redis)
    await database.close()


def numbers(after: int, last: int) -> list[int]:
    return list(range(after + 1, last + 1))
