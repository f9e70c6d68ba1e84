"""The relay worker: it carries the log into the Redis streams while it leads, and stands by while another does."""

import asyncio

from prometheus_client import CollectorRegistry

from infra.configs import relay_of, worker_pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.relay.relay import Relay, RelayMetrics
from infra.eventsourcing.startup import open_log
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.settings import Settings


async def run_relay(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Relays until ``stop``."""
    database = Database(worker_pool_of(settings))
    pool_metrics(registry).watch("relay", database)
    try:
        log = await open_log(database, CODEC)
        await Relay(database, log, relay_of(settings), RelayMetrics(registry)).run(stop)
    finally:
        await database.close()
