"""arq as the runtime of a worker: the same work and the same cron under its own command and under ``weir worker``.

::

    arq workers.KIND.WorkerSettings   on_startup: work begins ─▶ SIGTERM: work drains ─▶ jobs end ─▶ on_shutdown
    weir worker KIND                  work begins, whether or not there is a Redis; arq comes and goes beside it

The work is consumers and due work, which need Postgres alone. Jobs are arq's cron, and wake-ups: each says, to one
process of all, that it is time to look or to tidy up. Nothing that is owed waits for one that is forgotten.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, cast

from arq.cron import CronJob
from arq.worker import Function
from prometheus_client import CollectorRegistry

from infra.configs import worker_pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.startup import open_log
from infra.host.entry_point import entry_point
from infra.observability.error_reports import reporting
from infra.observability.logging import logging_to
from infra.observability.metrics import new_registry
from infra.observability.tracing.opening import recorded
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.redis import reachable
from infra.redis.keyspace import Keyspace
from infra.settings import Process, Settings, settings_of
from workers.job_metrics import JobMetrics, job_metrics
from workers.job_runner import Context, run_jobs, worker_options
from workers.parts import run_parts, signals_set, watching

Work: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Works until the event is set, then drains and returns."""

Open: TypeAlias = Callable[
    [AsyncExitStack, Settings, Database, EventLog, CollectorRegistry], Awaitable[tuple[Context, Work]]
]
"""Opens what a kind of worker needs, until the stack is closed."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A kind of worker: how its work is opened, what arq's cron does beside it once for all of its processes, and
    which jobs others may have it do.
    """

    name: str
    open: Open
    cron_jobs: Sequence[CronJob]
    jobs: Sequence[Function] = ()

    async def run(self, settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
        """A part of ``weir worker``. arq is not its host: without its Redis it would start nothing and keep nothing."""
        async with self._opened(settings, registry) as (_, log, context, work), asyncio.TaskGroup() as group:
            group.create_task(work(stop))
            cron_jobs, jobs = _counted(job_metrics(registry), self.cron_jobs, self.jobs)
            group.create_task(run_jobs(settings, self._queue(log), cron_jobs, context, stop, jobs))

    def worker_settings(self, process: Process) -> dict[str, Any]:
        """What arq's own command runs: the same work and the same cron, in a process that arq starts and stops.

        Ends the process with words where it cannot begin: arq would show how it came here.
        """
        with entry_point():
            settings = settings_of(process)
            queue = asyncio.run(self._find_queue(settings))
        return {
            **worker_options(settings, queue, self.cron_jobs, self.jobs),
            "on_startup": partial(self._start, settings),
            "on_shutdown": _drain,
        }

    @asynccontextmanager
    async def _opened(
        self, settings: Settings, registry: CollectorRegistry
    ) -> AsyncIterator[tuple[Database, EventLog, Context, Work]]:
        async with AsyncExitStack() as stack:
            database = Database(worker_pool_of(settings))
            stack.push_async_callback(database.close)
            pool_metrics(registry).watch(self.name, database)
            log = await open_log(database, CODEC)
            yield database, log, *await self.open(stack, settings, database, log, registry)

    async def _start(self, settings: Settings, ctx: Context) -> None:
        """Begins the work, and ends arq when it has ended: drained after a signal, or failed.

        Not arq's own way with signals: it cancels a job that it has just taken, fails of that itself, and never comes
        to ``on_shutdown``. This is called within the task that is to be cancelled.
        """
        arq = cast("asyncio.Task[Any]", asyncio.current_task())
        registry, stop = new_registry(), asyncio.Event()
        async with AsyncExitStack() as stack:
            stack.enter_context(logging_to(settings))
            stack.enter_context(reporting(settings, self.name))
            stack.enter_context(recorded(self.name))
            opened = self._opened(settings, registry)
            database, log, context, work = await stack.enter_async_context(opened)

            async def working(_settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
                await work(stop)

            running = asyncio.create_task(run_parts([working, watching(database, log)], settings, registry, stop))
            running.add_done_callback(lambda _: arq.cancel())
            stack.enter_context(signals_set(stop, settings.drain_seconds))
            stack.push_async_callback(_drained, running, stop)
            ctx.update(context, stack=stack.pop_all())

    async def _find_queue(self, settings: Settings) -> str:
        """The queue of the log that the settings lead to, once it is known that arq can use its Redis."""
        await reachable.insist(settings.jobs_url)
        database = Database(worker_pool_of(settings))
        try:
            return self._queue(await open_log(database, CODEC))
        finally:
            await database.close()

    def _queue(self, log: EventLog) -> str:
        return Keyspace.of(log.history).jobs(self.name)


async def _drain(ctx: Context) -> None:
    """Ends what was begun; nothing was, where the beginning failed."""
    if "stack" in ctx:
        await ctx["stack"].aclose()


async def _drained(running: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    stop.set()
    await running


def _counted(
    metrics: JobMetrics, cron_jobs: Sequence[CronJob], jobs: Sequence[Function]
) -> tuple[Sequence[CronJob], Sequence[Function]]:
    return (
        [replace(job, coroutine=metrics.counted(job.coroutine)) for job in cron_jobs],
        [replace(job, coroutine=metrics.counted(job.coroutine)) for job in jobs],
    )
