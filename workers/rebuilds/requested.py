"""Rebuilds that were asked for, one at a time beside the consumers, each in a process of its own."""

import os
import socket
from collections.abc import Sequence
from typing import Final

import structlog

from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.projections.generations import outdated
from infra.eventsourcing.projections.rebuild import requests
from infra.eventsourcing.projections.rebuild.requests import Claimed
from infra.postgres.pool import Database
from infra.redis.client import BROKEN
from infra.redis.job_queue import close_jobs, open_jobs
from infra.redis.keyspace import Keyspace
from infra.settings import Settings
from projections.registry import PROJECTIONS
from workers.rebuilds.process import fulfil

AT_ONCE: Final = 1
KIND: Final = "projections"
"""Which workers they are."""
LOOK: Final = "look_for_rebuilds"
"""The job that has a worker look at once."""

_log = structlog.get_logger("weir.rebuilds")


class Rebuilds:
    """Fulfils wishes for rebuilds. One per process."""

    work = requests.WORK
    at_once = AT_ONCE

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    async def claim(self, limit: int) -> Sequence[Claimed]:
        """Wishes that nobody is at, for a fold that this release has."""
        return await requests.claim(self._database, PROJECTIONS, limit)

    async def run(self, claimed: Claimed, since: float) -> None:  # noqa: ARG002
        """Fulfils a wish, however long that takes: it is held meanwhile."""
        _log.info("rebuild begins", projection=claimed.projection, attempt=claimed.attempts)
        await fulfil(self._settings, self._database, claimed)
        standing = await requests.look(self._database, claimed.wish_id)
        if standing and standing.report:
            _log.info("read model rebuilt", projection=claimed.projection, generation=standing.generation)
        elif standing and standing.error:
            _log.warning("rebuild failed", projection=claimed.projection, error=standing.error, again=not standing.done)


async def want_spoiled(database: Database) -> bool:
    """Asks for those read models whose rows are of events that the log has lost; answers whether there are any."""
    async with database.acquire() as session:
        spoiled = await outdated(session, PROJECTIONS, spoiled=True)
    for projection in spoiled:
        await requests.ask(database, projection, asked_by())
    return bool(spoiled)


async def wake(settings: Settings, log: EventLog) -> None:
    """Has one of the workers look at once. Where Redis is away or full, they find the wish when they look."""
    jobs = open_jobs(settings.jobs_url, Keyspace.of(log.history).jobs(KIND))
    try:
        await jobs.enqueue_job(LOOK)
    except BROKEN as error:
        _log.info("workers are not woken", error=type(error).__name__)
    finally:
        await close_jobs(jobs)


def asked_by() -> str:
    """Who asks, for those who look at the row."""
    return f"{socket.gethostname()}:{os.getpid()}"
