"""The process that hosts workers: any mix of them, one health port, one drain, and no half-dead process ever.

::

    SIGTERM ─▶ not ready ─▶ each part: take no more work, finish what is in flight, give its leases back ─▶ exit 0
    a part that fails, or ends unasked ─▶ all others are stopped ─▶ exit 1, and the supervisor starts a new process
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Literal, TypeAlias, TypeVar, assert_never, get_args

import structlog
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry

from infra.concurrency.gc_tuning import tune_gc
from infra.configs import worker_pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.startup import open_log
from infra.host.entry_point import NO_START, CannotListen
from infra.host.inner_server import InnerProtocol, InnerServer
from infra.observability.error_reports import reporting
from infra.observability.health import Component, health_app
from infra.observability.logging import level_of, logging_to
from infra.observability.metrics import new_registry
from infra.observability.tracing.opening import recorded
from infra.postgres.pool import Database
from infra.postgres.pool_metrics import pool_metrics
from infra.redis import reachable
from infra.settings import Settings, settings_of
from workers.parts import OtherLog, Part, is_other_log, run_parts, signals_set, watching

Kind: TypeAlias = Literal["relay", "projections", "tasks"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

T = TypeVar("T")

_log = structlog.get_logger("weir.worker")


def main(kinds: Collection[Kind], settings: Settings | None = None) -> int:
    """Runs workers of these kinds in this process until a signal or a failure; answers the exit code."""
    settings = settings or settings_of(*kinds)
    parts = parts_of(kinds)
    tune_gc()
    name = "-".join(parts)
    with logging_to(settings), reporting(settings, name), recorded(name):
        logging.getLogger("uvicorn").setLevel(
            max(level_of(settings), logging.WARNING)
        )  # it only serves the health here
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run_worker(parts, settings))
        except NO_START as error:
            _log.error("worker cannot start", kinds=sorted(kinds), why=str(error))
            return 1
        except Exception as error:
            if is_other_log(error):
                _log.warning("worker ends", kinds=sorted(kinds), why=str(OtherLog()))
            else:
                _log.exception("worker failed", kinds=sorted(kinds))
            return 1
        return 0


def parts_of(kinds: Collection[Kind]) -> dict[Kind, Part]:
    """What a process of these kinds hosts."""
    return {kind: _part_of(kind) for kind in sorted(set(kinds))}


def _part_of(kind: Kind) -> Part:
    """A process loads the code of what it hosts, and of nothing else: the relay starts in half the time of the rest."""
    match kind:
        case "relay":
            from workers.relay import run_relay

            return run_relay
        case "projections":
            from workers.projections import READ_MODELS

            return READ_MODELS.run
        case "tasks":
            from workers.tasks import TASKS

            return TASKS.run
        case _:
            assert_never(kind)


async def run_worker(parts: Mapping[Kind, Part], settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Runs workers until ``stop`` or a signal, within ``drain_seconds`` of it. Raises what made one of them fail."""
    stop = stop or asyncio.Event()
    registry = new_registry()
    async with AsyncExitStack() as stack:
        stack.enter_context(signals_set(stop, settings.drain_seconds))
        database = Database(worker_pool_of(settings))
        stack.push_async_callback(database.close)
        pool_metrics(registry).watch("health", database)
        readiness = Readiness(stop)
        components = (readiness.component, _postgres(database))
        await stack.enter_async_context(served_health(settings, components, registry))
        await reachable.warn(settings.redis_url)
        log = await _unless(stop, open_log(database, CODEC))
        readiness.started = True
        _log.info("worker started", kinds=[*parts])
        watches = [watching(database, log)] if log else []
        await run_parts([*parts.values(), *watches], settings, registry, stop)
        _log.info("worker drained", kinds=[*parts])


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


def _listening(settings: Settings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.health_port))
    except OSError as error:
        at = f"{settings.host}:{settings.health_port}"
        raise CannotListen(f"WEIR_HOST and WEIR_HEALTH_PORT lead to {at}: {error.strerror}") from None


@asynccontextmanager
async def served_health(
    settings: Settings, components: tuple[Component, ...], registry: CollectorRegistry
) -> AsyncIterator[int]:
    """Serves health and metrics on ``health_port``; gives the port, which is a free one for 0."""
    with _listening(settings) as listening:
        port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            health_app(components, registry),
            http=InnerProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = InnerServer(config)
        serving = asyncio.create_task(server.serve([listening]))
        _log.info("health served", host=settings.host, port=port)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving
