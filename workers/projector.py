"""The projections worker: runs every read model, in its share of the shards."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from infra.cache import Refresher
from infra.database import Database
from infra.settings import Settings
from infra.startup import known_log
from projections.all import PROJECTIONS
from projections.declaration import Projection
from projections.runtime.host import Factory, Host
from projections.runtime.metrics import ConsumerMetrics, RuntimeMetrics
from projections.runtime.projecting import Projecting
from projections.runtime.projecting import Refresher as RefresherPort

KIND = "projections"


async def run_projector(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Projects until ``stop``, then finishes the batch in flight and gives every shard back."""
    database = Database(settings)
    try:
        log = await known_log(database)
        async with Refresher(settings, log).running() as refresher:
            host = Host(
                factories(PROJECTIONS, database, refresher),
                kind=KIND,
                database=database,
                redis_url=settings.redis_url,
                log=log,
                lease_seconds=settings.lease_seconds,
                metrics=RuntimeMetrics.shared(registry),
            )
            await host.run(stop)
    finally:
        await database.close()


def factories(
    projections: Mapping[str, Projection[Any]], database: Database, refresher: RefresherPort
) -> dict[str, Factory]:
    """How the consumer of each read model's generation is made."""
    return {name: partial(_projecting, each, database, refresher) for name, each in projections.items()}


def _projecting(
    projection: Projection[Any],
    database: Database,
    refresher: RefresherPort,
    generation: int,
    metrics: ConsumerMetrics,
) -> Projecting:
    return Projecting(projection, generation, database=database, refresher=refresher, metrics=metrics)
