"""The process that hosts workers: any mix of them, one health port, one drain, and no half-dead process ever.

::

    SIGTERM ─▶ not ready ─▶ each part: take no more work, finish what is in flight, give its leases back ─▶ exit 0
    a part that fails, or ends unasked ─▶ all others are stopped ─▶ exit 1, and the supervisor starts a new process
"""

import asyncio
import faulthandler
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Literal, TypeAlias, TypeVar

import asyncpg
import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry

from infra.database import Database
from infra.errors import Unavailable
from infra.health import Component, health_app
from infra.log import Log, identify
from infra.metrics import new_registry
from infra.settings import Settings
from infra.startup import known_log, worker_database
from infra.telemetry import logging_to
from workers.jobs import standalone_options
from workers.projector import run_projector
from workers.relay import run_relay
from workers.tasks import run_tasks

Kind: TypeAlias = Literal["relay", "projections", "tasks"]
Part: TypeAlias = Callable[[Settings, CollectorRegistry, asyncio.Event], Awaitable[None]]
"""Works until the event is set, then drains and returns. It opens and closes what it needs."""

PARTS: Final[Mapping[Kind, Part]] = {"relay": run_relay, "projections": run_projector, "tasks": run_tasks}
HANGING_SECONDS: Final = 5.0
"""A process that has not ended this long after its drain says where it hangs and is ended."""

HISTORY_SECONDS: Final = 1.0
"""How often it is asked which log this is."""

T = TypeVar("T")

_log = structlog.get_logger("weir.worker")


class OtherLog(Exception):
    """The log behind the database is not the one that this process began with."""


class PartEnded(Exception):
    """A part has returned although nobody asked it to."""


def main(kinds: Collection[Kind], settings: Settings | None = None) -> int:
    """Runs workers of these kinds in this process until a signal or a failure; answers the exit code."""
    settings = settings or Settings()
    with logging_to(settings):
        for talkative in ("arq", "uvicorn", "httpx2", "httpcore2"):  # a line or more for each job, sweep or call
            logging.getLogger(talkative).setLevel(logging.WARNING)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run_worker(kinds, settings))
        except Exception:
            _log.exception("worker failed", kinds=sorted(kinds))
            return 1
        return 0


async def run_worker(kinds: Collection[Kind], settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Runs workers until ``stop`` or a signal, within ``drain_seconds`` of it. Raises what made one of them fail."""
    stop = stop or asyncio.Event()
    registry = new_registry()
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals_set(stop, settings.drain_seconds))
        database = worker_database(settings)
        stack.push_async_callback(database.close)
        readiness = Readiness(stop)
        components = (readiness.component, _postgres(database))
        await stack.enter_async_context(served_health(settings, components, registry))
        log = await _unless(stop, known_log(database))
        readiness.started = True
        _log.info("worker started", kinds=sorted(kinds))
        parts = [PARTS[kind] for kind in sorted(set(kinds))]
        await run_parts([*parts, _watching(database, log)] if log else parts, settings, registry, stop)
        _log.info("worker drained", kinds=sorted(kinds))


async def run_parts(
    parts: Sequence[Part], settings: Settings, registry: CollectorRegistry, stop: asyncio.Event
) -> None:
    """All parts, until they have drained after ``stop``; one that fails ends them all."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run_part(part, settings, registry, stop)) for part in parts]
        await stop.wait()
        _, late = await asyncio.wait(tasks, timeout=settings.drain_seconds)
        if late:
            _log.warning("drain cut short", parts=len(late))
        for task in late:
            task.cancel()


async def _run_part(part: Part, settings: Settings, registry: CollectorRegistry, stop: asyncio.Event) -> None:
    await part(settings, registry, stop)
    if not stop.is_set():
        raise PartEnded(getattr(part, "__name__", "a part"))


def _watching(database: Database, log: Log) -> Part:
    """A part that fails when the log behind the database is another, or has another history: it was restored, or its
    server has failed over. What the process remembers is not of it, and the names that it uses in Redis are not its.
    """

    async def watch(_settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(HISTORY_SECONDS):
                    await stop.wait()
            with suppress(Unavailable, asyncpg.PostgresError):
                async with database.acquire() as session:
                    if await identify(session) != log:
                        raise OtherLog

    return watch


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Waits for the work, but gives it up at ``stop``."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done():
        task.cancel()
        return None
    return task.result()


class Readiness:
    """Whether the process has begun its work and is not ending it."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.started = False
        self._stop = stop
        self.component = Component(name="worker", check=self._check)

    async def _check(self) -> None:
        if not self.started or self._stop.is_set():
            raise RuntimeError


def _postgres(database: Database) -> Component:
    async def check() -> None:
        await database.check()

    return Component(name="postgres", check=check)


class _HealthServer(uvicorn.Server):
    """uvicorn would take the signals for itself and leave the workers without."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served_health(
    settings: Settings, components: tuple[Component, ...], registry: CollectorRegistry
) -> AsyncIterator[int]:
    """Serves health and metrics on ``health_port``; gives the port, which is a free one for 0."""
    with socket.create_server((settings.host, settings.health_port)) as listening:
        port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            health_app(components, registry),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _HealthServer(config)
        serving = asyncio.create_task(server.serve([listening]))
        _log.info("health served", host=settings.host, port=port)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving


@contextmanager
def _signals_set(stop: asyncio.Event, drain_seconds: float) -> Iterator[None]:
    """SIGTERM and SIGINT set the event. A process that hangs after its drain writes down where, and ends."""
    loop = asyncio.get_running_loop()

    def drain() -> None:
        stop.set()
        faulthandler.dump_traceback_later(drain_seconds + HANGING_SECONDS, exit=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def __getattr__(name: str) -> Any:
    """``arq workers.main.WorkerSettings`` runs the jobs alone. Settings are read when arq asks, not at import."""
    if name == "WorkerSettings":
        return standalone_options(Settings())
    raise AttributeError(name)
