"""The projections worker: runs every read model, in its share of the shards."""

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Final

import uvloop
from arq.cron import cron
from prometheus_client import CollectorRegistry

from infra.cache import Refresher
from infra.database import Database, connect
from infra.log import Log
from infra.own_process import in_own_process
from infra.repeating import repeating
from infra.settings import Settings
from infra.telemetry import logging_to
from projections.all import PROJECTIONS
from projections.generations import outdated
from projections.rebuild import Busy, renew
from projections.runtime.host import Host
from projections.runtime.metrics import RuntimeMetrics
from projections.runtime.projecting import Projecting
from workers.runtime import Context, Runtime, Work

RENEWAL_SECONDS = 60.0
"""How often a process looks for a read model whose rows are not to be added to, where no job has it look."""


async def look_for_spoiled(ctx: Context) -> None:
    """The job: it has one process of all look now. A rebuild is not part of it: no bound of a job's ends one."""
    ctx["sooner"].set()


async def _open(
    stack: AsyncExitStack, settings: Settings, database: Database, log: Log, registry: CollectorRegistry
) -> tuple[Context, Work]:
    refresher = await stack.enter_async_context(Refresher(settings, log).running())
    metrics, sooner = RuntimeMetrics.shared(registry), asyncio.Event()
    host = Host(
        [Projecting(PROJECTIONS, database=database, refresher=refresher, metrics=metrics)],
        kind=READ_MODELS.name,
        database=database,
        redis_url=settings.redis_url,
        log=log,
        lease_seconds=settings.lease_seconds,
        metrics=metrics,
    )

    async def work(stop: asyncio.Event) -> None:
        making_anew = partial(make_anew, settings)
        async with repeating("making read models anew", making_anew, RENEWAL_SECONDS, sooner=sooner):
            await host.run(stop)

    return {"sooner": sooner}, work


READ_MODELS: Final = Runtime(
    name="projections",
    open=_open,
    cron_jobs=(cron(look_for_spoiled, second=set(range(0, 60, 10)), timeout=5),),
)


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


def __getattr__(name: str) -> Any:
    """``arq workers.projections.WorkerSettings``. Settings are read when arq asks, not at import."""
    if name == "WorkerSettings":
        return READ_MODELS.worker_settings(Settings())
    raise AttributeError(name)
