"""The parts of a worker process: run side by side, drained together, and none lives on when another has failed."""

import asyncio
import faulthandler
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

import structlog
from prometheus_client import CollectorRegistry

from infra.concurrency.waiting import happens
from infra.eventsourcing.event_log import EventLog, identify
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.settings import Settings

Part: TypeAlias = Callable[[Settings, CollectorRegistry, asyncio.Event], Awaitable[None]]
"""Works until the event is set, then drains and returns. It opens and closes what it needs."""

HANGING_SECONDS: Final = 5.0
"""A process that has not ended this long after its drain says where it hangs and is ended."""

HISTORY_SECONDS: Final = 1.0
"""How often it is asked which log this is."""

_log = structlog.get_logger("weir.worker")


class OtherLog(Exception):
    """The log behind the database is not the one that this process began with."""

    def __init__(self) -> None:
        super().__init__("the log is another, or has another history: a new process takes it up")


class PartEnded(Exception):
    """A part has returned although nobody asked it to."""


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


def watching(database: Database, log: EventLog) -> Part:
    """A part that fails when the log behind the database is another, or has another history: it was restored, or its
    server has failed over. What the process remembers is not of it, and the names that it uses in Redis are not its.
    """

    async def watch(_settings: Settings, _registry: CollectorRegistry, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await happens(stop, HISTORY_SECONDS)
            with suppress(*PASSING):
                async with database.acquire() as session:
                    if await identify(session, log.codec) != log:
                        raise OtherLog

    return watch


def is_other_log(error: Exception) -> bool:
    """Whether it is that and nothing else, as after a restore: no part has failed of itself."""
    return isinstance(error, ExceptionGroup) and error.split(OtherLog)[1] is None


@contextmanager
def signals_set(stop: asyncio.Event, drain_seconds: float) -> Iterator[None]:
    """SIGTERM and SIGINT set the event. A process that hangs after its drain writes down where, and ends."""
    loop = asyncio.get_running_loop()

    def drain() -> None:
        _log.info("worker drains")
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
