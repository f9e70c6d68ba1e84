"""The projections worker: runs every read model, in its share of the shards, and rebuilds what is wanted anew."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from arq.cron import cron
from arq.worker import func
from prometheus_client import CollectorRegistry

from infra.concurrency.periodic import repeating
from infra.configs import cache_of
from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.consumers.metrics import runtime_metrics
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.projections.projector import Projecting
from infra.eventsourcing.read_cache import Refresher
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from workers.due_loop import DueLoop
from workers.job_runner import Context
from workers.rebuilds.requested import KIND, LOOK, Rebuilds, want_spoiled
from workers.runtime import Runtime, Work

RENEWAL_SECONDS = 60.0
"""How often a process looks for a read model whose rows are not to be added to, where no job has it look."""


async def look_for_spoiled(ctx: Context) -> None:
    """The job: it has one process of all look now."""
    ctx["sooner"].set()


async def look_for_rebuilds(ctx: Context) -> None:
    """The job: somebody has just asked for one. A rebuild is not part of it: no bound of a job's ends one."""
    ctx["rebuilds"].wake()


async def _open(
    stack: AsyncExitStack, settings: Settings, database: Database, log: EventLog, registry: CollectorRegistry
) -> tuple[Context, Work]:
    refresher = await stack.enter_async_context(Refresher(cache_of(settings), log).running())
    metrics, sooner = runtime_metrics(registry), asyncio.Event()
    host = Host(
        [Projecting(PROJECTIONS, database=database, log=log, refresher=refresher, metrics=metrics)],
        kind=READ_MODELS.name,
        database=database,
        redis_url=settings.redis_url,
        log=log,
        lease_seconds=settings.lease_seconds,
        metrics=metrics,
    )

    rebuilds = DueLoop("rebuilds", Rebuilds(settings, database), database)

    async def work(stop: asyncio.Event) -> None:
        looking = partial(_look_for_spoiled, database, rebuilds)
        async with (
            repeating("looking for spoiled read models", looking, RENEWAL_SECONDS, sooner=sooner),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(host.run(stop))
            # No drain waits for a rebuild: it is given back, and another worker begins it anew.
            group.create_task(rebuilds.run(stop, 0))

    return {"sooner": sooner, "rebuilds": rebuilds}, work


async def _look_for_spoiled(database: Database, rebuilds: DueLoop[Any]) -> None:
    if await want_spoiled(database):
        rebuilds.wake()


READ_MODELS: Final = Runtime(
    name=KIND,
    open=_open,
    cron_jobs=(cron(look_for_spoiled, second=set(range(0, 60, 10)), timeout=5),),
    jobs=(func(look_for_rebuilds, name=LOOK),),
)


def __getattr__(name: str) -> Any:
    """``arq workers.projections.WorkerSettings``. Settings are read when arq asks, not at import."""
    if name == "WorkerSettings":
        return READ_MODELS.worker_settings("projections")
    raise AttributeError(name)
