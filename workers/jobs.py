"""Background work beside the consumers: the claim loops of due work, and arq, whose jobs tidy up.

Due work needs Postgres alone. arq's worker starts, loses its Redis, and drains, and nothing that is owed waits for it.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, cast

import orjson
import structlog
from arq import cron
from arq.worker import Worker

from infra.endings import end
from infra.jobs import close_jobs, open_jobs, serialize
from infra.metrics import new_registry
from infra.settings import Settings
from infra.startup import known_log, worker_database
from infra.streams import BROKEN, Keys
from workers.due_loop import DueLoop
from workers.forgetting import forget_commands
from workers.hands import due_loops, open_hands
from workers.images import sweep_images
from workers.imports.importer import tidy_imports
from workers.snapshots import renew_snapshots

TIDY_SECONDS: Final = 50
RENEW_SECONDS: Final = 120
CANCELLED_SECONDS: Final = 2.0

_log = structlog.get_logger("weir.jobs")


def standalone_options(settings: Settings) -> dict[str, Any]:
    """What ``arq workers.main.WorkerSettings`` runs: jobs and due work, in a process that arq starts and stops."""

    async def start(ctx: dict[str, Any]) -> None:
        stack = ctx["stack"] = AsyncExitStack()
        database = worker_database(settings)
        stack.push_async_callback(database.close)
        ctx.update(open_hands(stack, settings, database, await known_log(database), new_registry()))
        stop = asyncio.Event()
        running = asyncio.create_task(run_due_work(due_loops(ctx), stop, settings.drain_seconds))
        stack.push_async_callback(_drained, running, stop)

    async def stop(ctx: dict[str, Any]) -> None:
        await ctx["stack"].aclose()

    queue = asyncio.run(_queue(settings))
    return {**worker_options(settings, queue), "on_startup": start, "on_shutdown": stop}


async def _drained(running: "asyncio.Task[None]", stop: asyncio.Event) -> None:
    stop.set()
    await running


async def run_due_work(loops: Mapping[str, DueLoop[Any]], stop: asyncio.Event, drain_seconds: float) -> None:
    """Does the due work of all kinds until ``stop``, then finishes what it has begun."""
    async with asyncio.TaskGroup() as group:
        for loop in loops.values():
            group.create_task(loop.run(stop, drain_seconds))


async def _queue(settings: Settings) -> str:
    """The queue of the log that the settings lead to."""
    database = worker_database(settings)
    try:
        return Keys.of((await known_log(database)).history).jobs
    finally:
        await database.close()


def worker_options(settings: Settings, queue: str) -> dict[str, Any]:
    """How arq runs our jobs. Of its results, retries and pickles none is used.

    Jobs of all queues in one Redis share their names, so a cron job must bear its queue's: two logs would else make one
    between them.
    """
    tidying = [
        cron(job, name=f"{queue}:{job.__name__}", second={second}, timeout=TIDY_SECONDS)
        for job, second in ((forget_commands, 17), (sweep_images, 37), (tidy_imports, 47))
    ]
    renewing = cron(
        renew_snapshots,
        name=f"{queue}:{renew_snapshots.__name__}",
        minute={13},
        second={27},
        run_at_startup=True,
        timeout=RENEW_SECONDS,
    )
    return {
        "cron_jobs": [*tidying, renewing],
        "queue_name": queue,
        "redis_pool": open_jobs(settings.jobs_url, queue),
        "keep_result": 0,
        "health_check_interval": 15,
        "job_serializer": serialize,
        "job_deserializer": orjson.loads,
        "log_results": False,
    }


class WatchedWorker(Worker):
    """arq shields the end of a job from being cancelled, and forgets it; here it is known, and can be ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.endings: set[asyncio.Task[Any]] = set()

    async def finish_job(self, *args: Any, **options: Any) -> None:
        with self._known():
            await super().finish_job(*args, **options)

    async def finish_failed_job(self, *args: Any, **options: Any) -> None:
        with self._known():
            await super().finish_failed_job(*args, **options)

    @contextmanager
    def _known(self) -> Iterator[None]:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.endings.add(task)
        try:
            yield
        finally:
            self.endings.discard(task)


async def run_jobs(settings: Settings, queue: str, hands: Mapping[str, Any], stop: asyncio.Event) -> None:
    """Runs jobs until ``stop``, then finishes those it has begun.

    An arq worker ends when Redis stays away; a new one takes its place, because this process has more to do than jobs.
    """
    while not stop.is_set():
        worker = WatchedWorker(**worker_options(settings, queue), ctx=dict(hands), handle_signals=False)
        try:
            await _run(worker, stop, settings.drain_seconds)
        except BROKEN as error:
            _log.warning("jobs wait for Redis", error=type(error).__name__)
            await _stopped(stop, random.uniform(0.5, 1.5))  # noqa: S311


async def _stopped(stop: asyncio.Event, seconds: float) -> None:
    """Waits for ``stop``, at most that long."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


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
        await _cancel([running, stopping, *worker.tasks.values()])
        await end(*worker.endings)
        await close_jobs(worker.pool)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancels what is left and lets it clean up; what went wrong in it is of no more interest."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=CANCELLED_SECONDS)
    for task in done:
        if not task.cancelled():
            task.exception()
