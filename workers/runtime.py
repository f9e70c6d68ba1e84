"""arq as the runtime of a worker: the same work and the same cron under its own command and under ``weir worker``.

::

    arq workers.KIND.WorkerSettings   on_startup: work begins ─▶ SIGTERM: work drains ─▶ jobs end ─▶ on_shutdown
    weir worker KIND                  work begins, whether or not there is a Redis; arq comes and goes beside it

The work is consumers and due work, which need Postgres alone. Jobs are arq's cron, and wake-ups: each says, to one
process of all, that it is time to look or to tidy up. Nothing that is owed waits for one that is forgotten.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any, Final, TypeAlias, cast

import orjson
import structlog
from arq.cron import CronJob
from arq.typing import WorkerCoroutine
from arq.worker import Function, Worker
from prometheus_client import CollectorRegistry

from infra.concurrency.backoff import Backoff
from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.waiting import happens
from infra.configs import worker_pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.startup import open_log
from infra.host.entry_point import entry_point
from infra.observability import tracing
from infra.observability.error_reports import reporting
from infra.observability.logging import logging_to
from infra.observability.metrics import new_registry
from infra.observability.origin import Cause, begin
from infra.observability.tracing.opening import recorded
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.redis import reachable
from infra.redis.client import BROKEN
from infra.redis.job_queue import close_jobs, drop, is_unreadable, open_jobs, serialize_end
from infra.redis.job_queue import settings_of as settings_of_jobs
from infra.redis.keyspace import Keyspace
from infra.settings import Process, Settings, settings_of
from workers.job_metrics import JobMetrics, job_metrics
from workers.parts import run_parts, signals_set, watching

Context: TypeAlias = dict[str, Any]
"""What jobs are given."""

Work: TypeAlias = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Works until the event is set, then drains and returns."""

Open: TypeAlias = Callable[
    [AsyncExitStack, Settings, Database, EventLog, CollectorRegistry], Awaitable[tuple[Context, Work]]
]
"""Opens what a kind of worker needs, until the stack is closed."""

BACKOFF: Final = Backoff(first=1.0, factor=2.0, longest=30.0)
CALM_SECONDS: Final = 60.0
"""Whoever has run for so long begins with short pauses again."""

_log = structlog.get_logger("weir.jobs")


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


def worker_options(
    settings: Settings, queue: str, cron_jobs: Sequence[CronJob], jobs: Sequence[Function] = ()
) -> dict[str, Any]:
    """How arq runs our jobs. Of its results, retries and pickles none is used.

    Jobs of all queues in one Redis share their names, so a cron job must bear its queue's: two logs would else make one
    between them.
    """
    return {
        "cron_jobs": [
            replace(job, name=f"{queue}:{job.coroutine.__qualname__}", coroutine=_comes_again(job.coroutine))
            for job in cron_jobs
        ],
        "functions": list(jobs),
        "queue_name": queue,
        "redis_pool": open_jobs(settings.jobs_url, queue),
        "redis_settings": settings_of_jobs(settings.jobs_url),  # for arq --check
        "keep_result": 0,
        "health_check_interval": 15,
        "job_serializer": serialize_end,
        "job_deserializer": orjson.loads,
        "log_results": False,
        "on_job_start": _begin,
        "on_job_end": _end,
    }


def _comes_again(job: WorkerCoroutine) -> WorkerCoroutine:
    """A job of the cron, which looks again by itself: a server that is away is told in a line, as no error."""

    @wraps(job)
    async def run(ctx: Context, *args: Any, **options: Any) -> Any:
        try:
            return await job(ctx, *args, **options)
        except PASSING as error:
            _log.warning("cannot go on for now", job=job.__qualname__, error=str(error))

    return run


def _counted(
    metrics: JobMetrics, cron_jobs: Sequence[CronJob], jobs: Sequence[Function]
) -> tuple[Sequence[CronJob], Sequence[Function]]:
    return (
        [replace(job, coroutine=metrics.counted(job.coroutine)) for job in cron_jobs],
        [replace(job, coroutine=metrics.counted(job.coroutine)) for job in jobs],
    )


async def _begin(ctx: Context) -> None:
    """arq starts the job in a task of its own behind this: it has this origin and this span, and no other job has."""
    begin(Cause(causation=f"job:{ctx['job_id']}"))
    ctx["span"] = tracing.begin_span("job", kind=tracing.SpanKind.CONSUMER, about={"weir.job": ctx["job_id"]})


async def _end(ctx: Context) -> None:
    ctx["span"].end()


MISSED: Final = timedelta(seconds=30)
"""A cron job that is so late has been missed, once or many times, and is done once."""


class WatchedWorker(Worker):
    """arq shields the end of a job from being cancelled, and forgets it; here it is known, and can be ended.

    And it reckons when a cron job comes next from when it came last: after the machine's clock was set, or the process
    stood still, it would make up for each minute that was passed over, or wait until the former time has come again.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.endings: set[asyncio.Task[Any]] = set()

    async def finish_job(self, *args: Any, **options: Any) -> None:
        with self._known():
            await super().finish_job(*args, **options)

    async def finish_failed_job(self, *args: Any, **options: Any) -> None:
        with self._known():
            await super().finish_failed_job(*args, **options)

    async def run_cron(self, n: datetime, *args: Any, **options: Any) -> None:
        for job in self.cron_jobs:
            if (due := job.next_run) is not None:
                job.calculate_next(n)
                if n - due > MISSED:
                    job.next_run = n
                elif job.next_run is None or due < job.next_run:
                    job.next_run = due
        await super().run_cron(n, *args, **options)

    @contextmanager
    def _known(self) -> Iterator[None]:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.endings.add(task)
        try:
            yield
        finally:
            self.endings.discard(task)


async def run_jobs(
    settings: Settings,
    queue: str,
    cron_jobs: Sequence[CronJob],
    context: Mapping[str, Any],
    stop: asyncio.Event,
    jobs: Sequence[Function] = (),
) -> None:
    """Runs jobs until ``stop``, then finishes those it has begun.

    An arq worker ends when Redis stays away, and at an entry of its queue that it cannot read. A new one takes its
    place, because this process has more to do than jobs; an entry like that is dropped with its queue.
    """
    loop, failures = asyncio.get_running_loop(), 0
    while not stop.is_set():
        options = worker_options(settings, queue, cron_jobs, jobs)
        worker, began = WatchedWorker(**options, ctx=dict(context), handle_signals=False), loop.time()
        try:
            await _run(worker, stop, settings.drain_seconds)
        except Exception as error:
            if not is_unreadable(error):
                _log.warning("jobs wait for Redis", error=type(error).__name__)
                await happens(stop, random.uniform(0.5, 1.5))  # noqa: S311
                continue
            failures = 1 if loop.time() - began > CALM_SECONDS else failures + 1
            with suppress(*BROKEN):
                await drop(settings.jobs_url, queue)
            _log.warning("jobs cannot be read, and are dropped", error=type(error).__name__)
            await happens(stop, BACKOFF.after(failures))


async def _run(worker: WatchedWorker, stop: asyncio.Event, drain_seconds: float) -> None:
    running = asyncio.create_task(worker.async_run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        # A worker in burst mode that has had its number of jobs waits for those that run, and returns. Its own close()
        # would cancel them, and its loop in the middle of a transaction.
        worker.burst, worker.max_burst_jobs = True, 0
        await asyncio.wait({running}, timeout=drain_seconds)
        if running.done():
            running.result()
    finally:
        await cancel_and_wait(running, stopping, *worker.tasks.values())
        await cancel_and_wait(*worker.endings)
        await close_jobs(worker.pool)
