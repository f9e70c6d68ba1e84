"""The tasks worker: it reacts to events, does the work that is due, and tidies up."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from arq.cron import cron
from prometheus_client import CollectorRegistry

from infra.eventsourcing.consumers.consumer_host import Host
from infra.eventsourcing.consumers.metrics import runtime_metrics
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.leases import WHOLE, Place
from infra.eventsourcing.process_managers.consumer import ProcessConsumer
from infra.identity.one_time_links import lives_of
from infra.postgres.pool import Database
from infra.settings import Settings
from workers.due_loop import run_due_work
from workers.imports.importer import tidy_imports
from workers.job_context import due_loops, open_job_context
from workers.job_runner import Context
from workers.mail.consumer import NAME, Reacting
from workers.mail.message import domain_of
from workers.observation.observer import Observer
from workers.order_deadlines import PROCESSES, effects_of
from workers.runtime import Runtime, Work
from workers.upkeep.cleanup import forget_old_rows
from workers.upkeep.images import sweep_images
from workers.upkeep.snapshots import renew_snapshots
from workers.webhooks import consumer as webhooks
from workers.webhooks.consumer import Subscribing

TIDY_SECONDS: Final = 50
RENEW_SECONDS: Final = 120


async def _open(
    stack: AsyncExitStack, settings: Settings, database: Database, log: EventLog, registry: CollectorRegistry
) -> tuple[Context, Work]:
    context = await open_job_context(stack, settings, database, log, registry)
    loops = due_loops(context)
    observer = Observer(database, registry)
    host = _host(settings, registry, database, log, loops["post"].wake, loops["webhooks"].wake)

    async def work(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(host.run(stop))
            group.create_task(observer.run(stop))
            group.create_task(run_due_work(database, loops.values(), stop, settings.drain_seconds))

    return context, work


TASKS: Final = Runtime(
    name="tasks",
    open=_open,
    cron_jobs=(
        cron(forget_old_rows, second={17}, timeout=TIDY_SECONDS),
        cron(sweep_images, second={37}, timeout=TIDY_SECONDS),
        cron(tidy_imports, second={47}, timeout=TIDY_SECONDS),
        cron(renew_snapshots, minute={13}, second={27}, run_at_startup=True, timeout=RENEW_SECONDS),
    ),
)


def _host(
    settings: Settings,
    registry: CollectorRegistry,
    database: Database,
    log: EventLog,
    wake_mail: Callable[[], None],
    wake_webhooks: Callable[[], None],
) -> Host:
    """What runs reactions, webhooks and processes: an owner for each of the first two, shards of the last for all."""
    domain, metrics = domain_of(settings.mail_from), runtime_metrics(registry)
    effects = effects_of(log, domain)
    return Host(
        [
            Reacting(log, domain=domain, lives=lives_of(settings), wake_mail=wake_mail, metrics=metrics),
            Subscribing(log, wake=wake_webhooks, metrics=metrics),
            *(ProcessConsumer(process, log, effects=effects, metrics=metrics) for process in PROCESSES.values()),
        ],
        kind=TASKS.name,
        database=database,
        redis_url=settings.redis_url,
        log=log,
        lease_seconds=settings.lease_seconds,
        metrics=metrics,
        standalone=[
            Place(NAME, 0, WHOLE),
            Place(webhooks.NAME, 0, WHOLE),
            *(Place(name, 0, shard) for name in PROCESSES for shard in range(log.shards)),
        ],
    )


def __getattr__(name: str) -> Any:
    """``arq workers.tasks.WorkerSettings``. Settings are read when arq asks, not at import."""
    if name == "WorkerSettings":
        return TASKS.worker_settings("tasks")
    raise AttributeError(name)
