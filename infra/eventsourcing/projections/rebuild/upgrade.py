"""A new release folds a read model in another way: it is built anew before any process of that release serves it."""

from collections.abc import Mapping
from typing import Any

import structlog
from pydantic import SecretStr

from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.projections.generations import outdated
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.rebuild.builder import build
from infra.eventsourcing.projections.rebuild.new_generation import begin
from infra.eventsourcing.projections.rebuild.partitions import shares
from infra.eventsourcing.projections.rebuild.switchover import Switched, finish
from infra.postgres.pool import Connection, connect

_log = structlog.get_logger("weir.rebuild")


async def renew(
    session: Connection, url: SecretStr, log: EventLog, projections: Mapping[str, Projection[Any]]
) -> list[str]:
    """Rebuilds what is outdated, one after the other; answers which. Readers are served by the old rows until then.

    Raises :class:`~infra.eventsourcing.projections.rebuild.new_generation.Busy` where somebody else rebuilds the same
    one.
    """
    renewed = []
    for projection in await outdated(session, projections):
        switched = await _rebuilt(session, url, log, projection)
        _log.info("read model renewed", projection=projection.name, generation=switched.generation)
        renewed.append(projection.name)
    return renewed


async def _rebuilt(session: Connection, url: SecretStr, log: EventLog, projection: Projection[Any]) -> Switched:
    building = await begin(session, log, projection)
    builder = await connect(url)  # the reading of a share turns its connection to that
    try:
        for share in await shares(session, building, 1):
            await build(builder, building, share, _unreported)
    finally:
        await builder.close()
    return await finish(session, building)


def _unreported(_events: int, _positions: float) -> None:
    """Nobody looks on."""
