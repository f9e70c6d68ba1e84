"""Snapshots after a release that folds otherwise: made anew before a command has to wait for it."""

from typing import Any, Final

import structlog

from domain.accounts import ACCOUNTS
from domain.catalogue import PRODUCTS
from domain.decider import Decider
from domain.inventory import INVENTORY
from domain.orders import ORDERS
from infra.database import Database
from infra.event_store import Known, read_states
from infra.event_store.snapshots import Snapshot, SnapshotWriter, outdated

DECIDERS: Final[tuple[Decider[Any, Any, Any], ...]] = (ACCOUNTS, INVENTORY, ORDERS, PRODUCTS)
AT_ONCE: Final = 100

_log = structlog.get_logger("weir.snapshots")


async def renew_snapshots(ctx: dict[str, Any]) -> None:
    """The job: the snapshots that other code has made, some of each kind. What is left waits for its first command."""
    database: Database = ctx["database"]
    writer = SnapshotWriter(database)
    renewed = 0
    for decider in DECIDERS:
        for stream_id in await outdated(database, decider, AT_ONCE):
            (settled,) = await read_states(database, [Known(decider, stream_id)])
            if settled.last is not None:
                await writer.write([Snapshot(decider, stream_id, settled.version, settled.last, settled.state)])
                renewed += 1
    if renewed:
        _log.info("snapshots renewed", count=renewed)
