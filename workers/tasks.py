"""The tasks worker: it reacts to events, and does the work that is due."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from infra.database import Database
from infra.leases import WHOLE, Place
from infra.log import Log
from infra.settings import Settings
from infra.startup import known_log, worker_database
from infra.streams import Keys
from projections.parking import Apply
from projections.runtime.host import Host
from projections.runtime.metrics import RuntimeMetrics
from workers import following, reactor
from workers.following import PROCESSES, Following
from workers.hands import due_loops, open_hands
from workers.jobs import run_due_work, run_jobs
from workers.letters import domain_of
from workers.reactor import NAME, Reacting


async def run_tasks(settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    """Reacts to events, does due work and runs jobs until ``stop``, then drains."""
    async with AsyncExitStack() as stack:
        database = worker_database(settings)
        stack.push_async_callback(database.close)
        log = await known_log(database)
        hands = open_hands(stack, settings, database, log, registry)
        loops = due_loops(hands)
        async with asyncio.TaskGroup() as group:
            group.create_task(_host(settings, registry, database, log, loops["post"].wake).run(stop))
            group.create_task(run_due_work(loops, stop, settings.drain_seconds))
            group.create_task(run_jobs(settings, Keys.of(log.history).jobs, hands, stop))


def _host(
    settings: Settings, registry: CollectorRegistry, database: Database, log: Log, wake_mail: Callable[[], None]
) -> Host:
    """What runs reactions and processes: one owner for the reactions, shards of the processes for all who work here."""
    domain, metrics = domain_of(settings.mail_from), RuntimeMetrics.shared(registry)
    return Host(
        [
            Reacting(log, domain=domain, wake_mail=wake_mail, metrics=metrics),
            *(Following(process, log, domain=domain, metrics=metrics) for process in PROCESSES.values()),
        ],
        kind="tasks",
        database=database,
        redis_url=settings.redis_url,
        log=log,
        lease_seconds=settings.lease_seconds,
        metrics=metrics,
        standalone=[
            Place(NAME, 0, WHOLE),
            *(Place(name, 0, shard) for name in PROCESSES for shard in range(log.shards)),
        ],
    )


def appliers(log: Log, domain: str) -> dict[str, Apply]:
    """How parked streams are taken up again, by consumer, for all that are no read models."""
    processes = {name: following.applier(process, log, domain) for name, process in PROCESSES.items()}
    return {NAME: reactor.applier(log, domain), **processes}
