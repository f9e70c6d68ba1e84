"""Claim loops of due work, for tests that let one run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from infra.postgres.due_work import Claimed
from infra.postgres.pool import Database
from workers.due_loop import DueLoop, Kind

C = TypeVar("C", bound=Claimed)


@asynccontextmanager
async def claiming(kind: Kind[C], database: Database, *, drain_seconds: float = 5.0) -> AsyncIterator[DueLoop[C]]:
    """The loop of a kind; it has drained when the block ends."""
    stop = asyncio.Event()
    loop = DueLoop("test", kind, database)
    async with asyncio.TaskGroup() as group:
        group.create_task(loop.run(stop, drain_seconds))
        try:
            yield loop
        finally:
            stop.set()
