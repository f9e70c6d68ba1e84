"""The projections worker: runs every read model, in its share of the shards."""

import asyncio
from contextlib import suppress
from functools import partial

import uvloop
from prometheus_client import CollectorRegistry

from infra.cache import Refresher
from infra.database import connect
from infra.own_process import in_own_process
from infra.repeating import repeating
from infra.settings import Settings
from infra.startup import known_log, worker_database
from infra.telemetry import logging_to
from projections.all import PROJECTIONS
from projections.generations import outdated
from projections.rebuild import Busy, renew
from projections.runtime.host import Host
from projections.runtime.metrics import RuntimeMetrics
from projections.runtime.projecting import Projecting

KIND = "projections"
RENEWAL_SECONDS = 10.0
"""How often a read model is looked for whose rows are not to be added to."""


async def run_projector(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Projects until ``stop``, then finishes the batch in flight and gives every shard back."""
    database = worker_database(settings)
    try:
        log = await known_log(database)
        async with Refresher(settings, log).running() as refresher:
            metrics = RuntimeMetrics.shared(registry)
            host = Host(
                [Projecting(PROJECTIONS, database=database, refresher=refresher, metrics=metrics)],
                kind=KIND,
                database=database,
                redis_url=settings.redis_url,
                log=log,
                lease_seconds=settings.lease_seconds,
                metrics=metrics,
            )
            async with repeating("making read models anew", partial(make_anew, settings), RENEWAL_SECONDS):
                await host.run(stop)
    finally:
        await database.close()


async def make_anew(settings: Settings) -> None:
    """Rebuilds what is spoiled, unless somebody else is at it.

    In a process of its own: a rebuild folds thousands of events at a time, and those who wait here for theirs would
    wait for that.
    """
    session = await connect(settings.direct_url)
    try:
        spoiled = await outdated(session, spoiled=True)
    finally:
        await session.close()
    if spoiled:
        await in_own_process(_rebuild, settings)


def _rebuild(settings: Settings) -> None:
    async def work() -> None:
        session = await connect(settings.direct_url)
        try:
            with suppress(Busy):
                await renew(session, settings.direct_url, spoiled=True)
        finally:
            await session.close()

    with logging_to(settings):
        uvloop.run(work())
