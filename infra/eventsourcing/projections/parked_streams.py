"""Streams set aside: an event that one consumer cannot take stops its own stream there, and nothing else.

While a stream is parked its later events are skipped, so a retry applies them all, from the failing one up to where the
consumer stands, in one transaction that locks the checkpoint: the owner's next move waits for it, and is then fenced,
because what it remembers of the stream is no longer true.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import sqlalchemy as sa
import structlog

from infra.errors import Fenced
from infra.eventsourcing.consumers.consumer import Lease, is_poison
from infra.eventsourcing.consumers.metrics import ConsumerMetrics
from infra.eventsourcing.event_log import Entry, EventLog, Session
from infra.eventsourcing.leases import Place
from infra.eventsourcing.leases.checkpoints import guard
from infra.eventsourcing.projections.fold import FailedEvent, describe, fold
from infra.eventsourcing.projections.projection import Projection
from infra.eventsourcing.projections.row_table import Table, inserting_parked, load
from infra.observability.origin import arising_from
from infra.postgres.errors import storable
from infra.postgres.statements import Statement
from infra.postgres.tables import consumers as tables

_live: Final = sa.func.coalesce(tables.projections.c.live_generation, 0)
_is_it: Final = tables.parked.c.id == sa.bindparam("parked")
_again: Final = {"error": sa.bindparam("error"), "attempts": tables.parked.c.attempts + 1}
_where: Final[dict[str, Any]] = {name: sa.bindparam(name) for name in ("position", "event_type", "unknown")}
_update: Final = sa.update(tables.parked).where(_is_it).returning(*tables.parked.c)

_LISTED: Final = Statement(
    sa.select(tables.parked)
    .outerjoin(tables.projections, tables.projections.c.name == tables.parked.c.consumer)
    .where(tables.parked.c.generation == _live)
    .order_by(tables.parked.c.id)
)
_LOCK: Final = Statement(sa.select(tables.parked).where(_is_it).with_for_update())
_SETTLE: Final = Statement(_update.values({**_again, **_where}))
_STILL: Final = Statement(_update.values(_again))

_log = structlog.get_logger("weir.parking")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A parked stream: where it stopped, in which consumer, and why."""

    id: int
    consumer: str
    generation: int
    shard: int
    stream_id: UUID
    position: int
    event_type: str
    error: str
    unknown: bool
    attempts: int
    parked_at: datetime


class NotParked(Exception):
    """There is no such parked stream (any more)."""


class KeptByAnother(Exception):
    """The read model is kept by a release that folds in another way: it is for that one to take the stream up."""


Apply: TypeAlias = Callable[[Session, Parked, Sequence[Entry]], Awaitable[FailedEvent | None]]
"""Applies a stream's events in the caller's transaction; answers the one that failed, if any, and why. Those before it
are applied then, and none after it."""


async def write(session: Session, consumer: str, generation: int, failures: Sequence[FailedEvent]) -> None:
    """Parks streams, in the caller's transaction."""
    if failures:
        await session.execute(
            inserting_parked(1),
            *columns([(Place(consumer, generation, each.entry.shard), each) for each in failures]),
        )


def columns(failures: Sequence[tuple[Place, FailedEvent]]) -> list[list[Any]]:
    """Parkings, each with its place, as the arrays that a statement takes."""
    rows = [
        (*place[:2], each.shard, each.stream_id, each.position, each.type, storable(error), unknown)
        for place, (each, error, unknown) in failures
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def announce(lease: Lease, metrics: ConsumerMetrics, failures: Sequence[FailedEvent]) -> None:
    """Has the owner know of streams that were set aside, and raises the alarm, once that is committed."""
    for each in failures:
        lease.consumer_state.add(each.entry.stream_id)
        (metrics.unknown if each.unknown else metrics.parked).inc()
        with arising_from(each.entry.cause):
            _log.error(
                "stream held" if each.unknown else "stream parked",
                consumer=lease.place.consumer,
                stream_id=str(each.entry.stream_id),
                position=each.entry.position,
                type=each.entry.type,
                error=each.error,
            )


async def listed(session: Session) -> list[Parked]:
    """All parked streams, the longest parked first; those of generations that are no longer served do not count."""
    return [Parked(**row) for row in await session.fetch(*_LISTED())]


async def retry(
    session: Session,
    log: EventLog,
    parked_id: int,
    projections: Mapping[str, Projection[Any]],
    others: Mapping[str, Apply] | None = None,
) -> Parked | None:
    """Applies a parked stream from its failing event on. Answers None, or how it is parked still.

    ``others`` knows how to apply to consumers that are no read models. Raises :class:`NotParked`.
    """
    return await _take_up(session, log, parked_id, projections, others or {}, skipping=False)


async def skip(
    session: Session,
    log: EventLog,
    parked_id: int,
    projections: Mapping[str, Projection[Any]],
    others: Mapping[str, Apply] | None = None,
) -> Parked | None:
    """The same without the failing event, which the consumer will never have seen."""
    return await _take_up(session, log, parked_id, projections, others or {}, skipping=True)


async def recall(
    session: Session,
    log: EventLog,
    leases: Iterable[Lease],
    projections: Mapping[str, Projection[Any]],
    others: Mapping[str, Apply] | None = None,
) -> None:
    """Has owners that begin, and remember nothing yet, know of the streams that are set aside.

    Those that waited for a release that knows their event are taken up first, if this is one; what was written then the
    cache does not have. Whoever is the owner no longer takes up nothing.
    """
    leases = [lease for lease in leases if lease.consumer_state is None]
    for parked_id, lease, event_type, unknown, _ in await _parked_of(session, leases):
        if unknown and event_type in log.codec.registry.events:
            with suppress(Fenced, NotParked):  # somebody was faster, and the batch that is to follow moves nothing
                await _take_up(session, log, parked_id, projections, others or {}, skipping=False, owner=lease)
    found = await _parked_of(session, leases)
    for lease in leases:
        lease.consumer_state = set()
    for _, lease, _, _, stream_id in found:
        lease.consumer_state.add(stream_id)


async def _parked_of(session: Session, leases: Sequence[Lease]) -> list[tuple[int, Lease, str, bool, UUID]]:
    if not leases:
        return []
    rows = await session.fetch(
        "SELECT p.id, l.place, p.event_type, p.unknown, p.stream_id FROM parked p "
        "JOIN unnest($1::text[], $2::integer[], $3::smallint[]) "
        "WITH ORDINALITY AS l (consumer, generation, shard, place) "
        "ON l.consumer = p.consumer AND l.generation = p.generation AND l.shard IN (p.shard, -1) ORDER BY p.id",
        *zip(*(lease.place for lease in leases), strict=True),
    )
    return [(row[0], leases[row[1] - 1], *row[2:]) for row in rows]


async def _take_up(
    session: Session,
    log: EventLog,
    parked_id: int,
    projections: Mapping[str, Projection[Any]],
    others: Mapping[str, Apply],
    *,
    skipping: bool,
    owner: Lease | None = None,
) -> Parked | None:
    try:
        async with session.transaction():
            await guard(session)
            parked, position = await _locked(session, parked_id, projections, owner)
            entries = await log.read_stream(session, parked.stream_id, parked.position + skipping, position)
            if (apply := others.get(parked.consumer)) is not None:
                failed = await apply(session, parked, entries)
            else:
                failed = await _apply_to_rows(session, log, projections[parked.consumer], parked, entries)
            await _fence_owner(session, parked, owner)
            return await _settled(session, parked, failed)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if not is_poison(error):
            raise
        return await _still(session, parked_id, describe(error))


async def _locked(
    session: Session, parked_id: int, projections: Mapping[str, Projection[Any]], owner: Lease | None
) -> tuple[Parked, int]:
    """The parked stream and its consumer's position, which stays where it is until the transaction ends.

    The checkpoint is locked before the parked row, as its owner does; and for an owner only if it is that still.
    """
    found = await session.fetchrow(
        "SELECT c.position, c.owner, c.epoch, (SELECT code_version FROM generations g WHERE g.projection = c.consumer "
        "AND g.generation = c.generation) FROM checkpoints c JOIN parked p USING (consumer, generation) "
        "WHERE p.id = $1 AND c.shard IN (p.shard, -1) FOR UPDATE OF c",
        parked_id,
    )
    if found and owner and (found["owner"], found["epoch"]) != (owner.owner, owner.epoch):
        raise Fenced(owner.place.consumer, owner.shard)
    row = await session.fetchrow(*_LOCK(parked=parked_id))
    if row is None or found is None:
        raise NotParked(parked_id)
    if found["code_version"] is not None and found["code_version"] != projections[row["consumer"]].version:
        raise KeptByAnother(f"{row['consumer']} is kept by a release of version {found['code_version']}")
    return Parked(**row), found["position"]


async def _fence_owner(session: Session, parked: Parked, owner: Lease | None) -> None:
    """Has the owner start anew, and the cache brought up from before the failing event."""
    if owner:
        owner.cache_position = min(owner.cache_position, parked.position - 1)
    await session.execute(
        "UPDATE checkpoints SET refreshed = least(refreshed, $4 - 1), "
        "epoch = epoch + ($5::boolean)::integer, owner = CASE WHEN $5 THEN NULL ELSE owner END "
        "WHERE consumer = $1 AND generation = $2 AND shard IN ($3, -1)",
        parked.consumer,
        parked.generation,
        parked.shard,
        parked.position,
        owner is None,
    )


async def _settled(session: Session, parked: Parked, failed: FailedEvent | None) -> Parked | None:
    if failed is None:
        await session.execute("DELETE FROM parked WHERE id = $1", parked.id)
        return None
    row = await session.fetchrow(
        *_SETTLE(
            parked=parked.id,
            position=failed.entry.position,
            event_type=failed.entry.type,
            error=storable(failed.error),
            unknown=failed.unknown,
        )
    )
    return Parked(**row) if row else None


async def _still(session: Session, parked_id: int, error: str) -> Parked | None:
    """Postgres refuses what the events lead to: nothing was applied."""
    row = await session.fetchrow(*_STILL(parked=parked_id, error=storable(error)))
    return Parked(**row) if row else None


async def _apply_to_rows(
    session: Session, log: EventLog, projection: Projection[Any], parked: Parked, entries: Sequence[Entry]
) -> FailedEvent | None:
    table: Table[Any] = Table(projection, parked.generation)
    concerns = log.codec.registry.concerns(projection.handles)
    handled = [entry for entry in entries if concerns(entry.type)]
    keys = {key for entry in handled if (key := _key(projection, entry))}
    rows = (await load(session, {table: keys}))[table]
    folded = fold(projection, {key: row.kept for key, row in rows.items()}, set(), handled)
    await table.put(session, folded.written)
    return folded.failures[0] if folded.failures else None


def _key(projection: Projection[Any], entry: Entry) -> str | None:
    try:
        return projection.key(entry.recorded())
    except Exception:
        return None
