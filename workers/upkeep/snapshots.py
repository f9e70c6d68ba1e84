"""Snapshots after a release that folds otherwise: made anew before a command has to wait for it."""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final
from uuid import UUID

import structlog

from domain.accounts import ACCOUNTS
from domain.catalogue import PRODUCTS
from domain.inventory import INVENTORY
from domain.kernel.decider import Decider
from domain.orders import ORDERS
from domain.rooms import ROOMS
from infra.eventsourcing.codec import MalformedEvent, UnknownEventType
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.store import Known, Settled, read_states
from infra.eventsourcing.store.snapshots import Snapshot, SnapshotWriter, drop, outdated
from infra.postgres.pool import Database

DECIDERS: Final[tuple[Decider[Any, Any, Any], ...]] = (ACCOUNTS, INVENTORY, ORDERS, PRODUCTS, ROOMS)
AT_ONCE: Final = 20
"""Streams of each kind that are looked up at once."""

SECONDS: Final = 40.0
"""For one job; what is left waits for the next, or for its first command."""

_log = structlog.get_logger("weir.snapshots")


async def renew_snapshots(ctx: dict[str, Any]) -> None:
    """The job: the snapshots that other code has made, and the first ones of streams from before there were any."""
    database: Database = ctx["database"]
    log: EventLog = ctx["log"]
    renewed = 0
    until = monotonic() + SECONDS
    for decider in DECIDERS:
        while monotonic() < until and (streams := await outdated(database, decider, AT_ONCE)):
            renewed += await _renew(database, log, decider, streams)
    if renewed:
        _log.info("snapshots renewed", count=renewed)


async def _renew(database: Database, log: EventLog, decider: Decider[Any, Any, Any], streams: Sequence[UUID]) -> int:
    """One stream after the other: each may be long. One that is gone, or cannot be read, has no snapshot."""
    kept, unreadable = [], []
    for stream_id in streams:
        try:
            (settled,) = await read_states(database, log.codec.decode, [Known(decider, stream_id)])
        except (UnknownEventType, MalformedEvent):
            settled = Settled(None)
        if settled.last is None:
            unreadable.append(stream_id)
        else:
            kept.append(Snapshot(decider, stream_id, settled.version, settled.last, settled.state))
    await drop(database, unreadable)
    if kept:
        await SnapshotWriter(database).write(kept)
    return len(kept)
