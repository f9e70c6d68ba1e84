"""Running jobs: arq's worker in this process, for as long as there is work; it comes and goes with its Redis."""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, Final, TypeAlias, cast

import orjson
import structlog
from arq.cron import CronJob
from arq.typing import WorkerCoroutine
from arq.worker import Function, Worker

from infra.concurrency.backoff import Backoff
from infra.concurrency.cancellation import cancel_and_wait
from infra.concurrency.waiting import happens
from infra.observability import tracing
from infra.observability.origin import Cause, begin
from infra.postgres.errors import is_passing
from infra.redis.client import BROKEN
from infra.redis.job_queue import close_jobs, drop, is_unreadable, open_jobs, serialize_end
from infra.redis.job_queue import settings_of as settings_of_jobs
from infra.settings import Settings

Context: TypeAlias = dict[str, Any]
"""What jobs are given."""

BACKOFF: Final = Backoff(first=1.0, factor=2.0, longest=30.0)
CALM_SECONDS: Final = 60.0
"""Whoever has run for so long begins with short pauses again."""

_log = structlog.get_logger("weir.jobs")


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
    """A job of the cron, which looks again by itself: what will pass is told in a line, as no error."""

    @wraps(job)
    async def run(ctx: Context, *args: Any, **options: Any) -> Any:
        try:
            return await job(ctx, *args, **options)
        except Exception as error:
            if not is_passing(error):
                raise
            _log.warning("cannot go on for now", task=job.__qualname__, error=str(error) or type(error).__name__)

    return run


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
