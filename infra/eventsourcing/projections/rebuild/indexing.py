"""The indexes of a generation that is built: made side by side, where there may be more connections than one."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from pydantic import SecretStr

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.generations import create_indexes
from infra.eventsourcing.projections.rebuild.new_generation import Building, watch_client
from infra.postgres.connection import session_at
from infra.postgres.pool import Connection

SORTING_MB: Final = 256
"""What the sorts for indexes may have, all at once, so that they need not go through files."""


async def index(session: Session, building: Building, url: SecretStr | None) -> None:
    """Makes the indexes, on a connection for each processor where there is a ``url``, else on the one there is."""
    wanted = 1 + len(building.projection.indexes)
    at_once = min(wanted, os.cpu_count() or 1) if url else 1
    async with AsyncExitStack() as stack:
        sessions: list[Session] = [session]
        while url and len(sessions) < at_once:
            sessions.append(await stack.enter_async_context(_another(url)))
        for each in sessions:
            await each.execute(f"SET maintenance_work_mem = '{SORTING_MB // at_once}MB'")
        await create_indexes(sessions, building.projection, building.generation)


@asynccontextmanager
async def _another(url: SecretStr) -> AsyncIterator[Connection]:
    async with session_at(url, writes=False) as session:  # an index is nobody's until the switch
        await watch_client(session)
        yield session
