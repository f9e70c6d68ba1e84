"""The settings as the parts below take them: each part has a small frozen configuration of its own, and none of them
knows the environment.
"""

from dataclasses import replace
from typing import Final

from domain.orders import ORDERS
from domain.rooms import ROOMS
from infra.eventsourcing.configs import LOCK_SECONDS, CacheConfig, RelayConfig, SubscriptionConfig
from infra.postgres.pool_config import PoolConfig
from infra.settings import Settings

FOLLOWED: Final = frozenset({ORDERS.category, ROOMS.category})
"""The categories of which single streams can be followed."""


def pool_of(settings: Settings) -> PoolConfig:
    """The pool of a process."""
    return PoolConfig(url=settings.database_url, size=settings.pool_size, pgbouncer=settings.pgbouncer)


def replica_pool_of(settings: Settings) -> PoolConfig | None:
    """The pool of a process to the server that it only reads from, if there is one."""
    if settings.database_read_url is None:
        return None
    return replace(pool_of(settings), url=settings.database_read_url, standby=True)


def worker_pool_of(settings: Settings) -> PoolConfig:
    """The pool of a worker: nothing that it waits for, or leaves behind when it is paused, holds up others for long."""
    return replace(pool_of(settings), lock_seconds=LOCK_SECONDS)


def cache_of(settings: Settings) -> CacheConfig:
    """Both caches of read models."""
    return CacheConfig(
        redis_url=settings.redis_url,
        seconds=settings.cache_seconds,
        local_documents=settings.l1_entries,
        local_bytes=settings.l1_bytes,
    )


def relay_of(settings: Settings) -> RelayConfig:
    """The relay and its streams."""
    return RelayConfig(
        redis_url=settings.redis_url,
        stream_length=settings.stream_length,
        stream_bytes=settings.stream_bytes,
        lease_seconds=settings.lease_seconds,
        followed=FOLLOWED,
    )


def subscriptions_of(settings: Settings) -> SubscriptionConfig:
    """What follows streams and the log."""
    return SubscriptionConfig(redis_url=settings.redis_url)
