"""The observer: one process at a time looks at the database for all, so that no figure is told twice."""

import asyncio
import random
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from infra.concurrency.waiting import happens
from infra.eventsourcing.leases import Leader
from infra.postgres.errors import PASSING
from infra.postgres.pool import Database
from infra.postgres.server_figures import ServerFigures
from workers.observation import figures
from workers.observation.metrics import ObservedMetrics

LEASE: Final = "observer"
OBSERVE_SECONDS: Final = 5.0
SERVER_EVERY: Final = 6
"""Of so many looks one is at the server as well: sizes and dead rows do not change in seconds."""

_log = structlog.get_logger("weir.observer")


class Observer:
    """Observes while it leads; stands by while another does. One per process."""

    def __init__(
        self, database: Database, registry: CollectorRegistry, *, observe_seconds: float = OBSERVE_SECONDS
    ) -> None:
        self._database = database
        self._leader = Leader(database, LEASE, 3 * observe_seconds)
        self._metrics = ObservedMetrics(registry)
        self._observe_seconds = observe_seconds
        self._looks = 0
        self._server: ServerFigures | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``. What keeps it from looking is logged, and the next look comes all the same."""
        while not stop.is_set():
            try:
                await self.look()
            except PASSING as error:
                _log.warning("not observed", error=type(error).__name__)
            await happens(stop, self._observe_seconds * random.uniform(0.8, 1.0))  # noqa: S311
        await self._resign()

    async def look(self) -> None:
        """One look, if this process is the one to look. Raises one of ``PASSING``."""
        if not await self._leader.lead():
            self._metrics.forget()
            return
        if self._server is None or self._looks % SERVER_EVERY == 0:
            self._server = await figures.server(self._database)
        self._looks += 1
        self._metrics.saw(await figures.standing(self._database), self._server)

    async def _resign(self) -> None:
        self._metrics.forget()
        try:
            if self._leader.epoch:
                await self._leader.resign()
        except PASSING as error:
            _log.warning("the lease runs out by itself", error=type(error).__name__)
