"""A worker among others: its heartbeat, and the leases on checkpoints that it takes and gives back."""

import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.leases.balancing import Place, Plan, plan
from infra.eventsourcing.leases.checkpoints import GUARDED, same, unlocked
from infra.postgres.pool import Database

_BEAT: Final = (
    "INSERT INTO workers (worker_id, kind, host, pid, serves) VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = now()"
)
_ENROL: Final = (
    "INSERT INTO checkpoints (consumer, generation, shard) "
    "SELECT * FROM unnest($1::text[], $2::integer[], $3::smallint[]) ON CONFLICT DO NOTHING"
)
# A heartbeat of a time to come is of a clock that was set back since: whoever lives beats again, and soon.
_ALIVE: Final = "heartbeat_at BETWEEN now() - make_interval(secs => $2) AND now() + make_interval(secs => $2)"
_SWEEP: Final = (
    "DELETE FROM workers WHERE heartbeat_at NOT BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'"
)

# A read model's checkpoints count in the generation that is served, and only for code of that generation's version;
# other consumers have one generation, 0, and version 0.
_SERVED: Final = (
    "checkpoints c LEFT JOIN projections p ON p.name = c.consumer "
    "LEFT JOIN generations g ON g.projection = c.consumer AND g.generation = c.generation "
    "CROSS JOIN LATERAL (SELECT concat(c.consumer, '@', coalesce(g.code_version, 0)) AS needed) n"
)
_LIVE: Final = "c.generation = coalesce(p.live_generation, 0)"

_STANDING: Final = f"""
WITH alive AS (SELECT worker_id, kind, serves FROM workers WHERE {_ALIVE} AND worker_id <> $1)
SELECT c.consumer, c.generation, c.shard, CASE WHEN c.owner = $1 THEN c.owner ELSE a.worker_id END, c.epoch, c.position,
       ARRAY (SELECT o.worker_id FROM alive o
              WHERE o.kind = $3 AND (o.serves IS NULL OR n.needed = ANY (o.serves)) ORDER BY 1)
FROM {_SERVED} LEFT JOIN alive a ON a.worker_id = c.owner
WHERE {_LIVE} AND n.needed = ANY ($4::text[])
"""  # noqa: S608

_NAMED: Final = "unnest($3::text[], $4::integer[], $5::smallint[]) AS s (consumer, generation, shard)"
_FREE: Final = (
    f"(c.owner IS NULL OR c.owner = $1 OR NOT EXISTS (SELECT FROM workers w WHERE w.worker_id = c.owner AND {_ALIVE}))"
)
_TAKE: Final = f"""
WITH free AS ({unlocked(_NAMED, "c.consumer, c.generation, c.shard", _FREE)})
UPDATE checkpoints c SET owner = $1, epoch = c.epoch + 1, updated_at = now()
FROM free f WHERE {same("f")} AND {_FREE}
RETURNING c.consumer, c.generation, c.shard, c.owner, c.epoch, c.position, least(c.refreshed, c.position),
    c.event_position IS NULL OR EXISTS (
        SELECT FROM events e WHERE e.position = c.event_position AND e.recorded_at = c.event_recorded_at)
"""  # noqa: S608

_HELD: Final = (
    "unnest($2::text[], $3::integer[], $4::smallint[], $5::bigint[], $6::bigint[], $8::text[]) "
    "AS s (consumer, generation, shard, epoch, refreshed, era)"
)
_NOTE: Final = f"""
WITH mine AS ({unlocked(_HELD, "s.*")})
UPDATE checkpoints c SET owner = CASE WHEN $7 THEN NULL ELSE c.owner END,
    refreshed = least(greatest(c.refreshed, m.refreshed), c.position),
    refreshed_era = coalesce(nullif(m.era, ''), c.refreshed_era)
FROM mine m WHERE {same("m")} AND c.owner = $1 AND c.epoch = m.epoch
"""  # noqa: S608

_SPOIL: Final = "UPDATE generations SET code_version = 0 WHERE projection = $1 AND generation = $2"
_GO_ON: Final = (
    "UPDATE checkpoints SET position = least(position, $6), event_position = NULL, event_recorded_at = NULL "
    "WHERE consumer = $1 AND generation = $2 AND shard = $3 AND owner = $4 AND epoch = $5"
)

_ANYBODY: Final = f"SELECT EXISTS (SELECT FROM workers WHERE kind = $1 AND {_ALIVE})"  # noqa: S608

# The bounds come with the lock: a worker that is paused while it has its turn must not keep all others from theirs.
_IN_TURN: Final = f"SELECT {GUARDED}, pg_advisory_xact_lock(hashtextextended('weir:' || $1, 0))"

_LAG: Final = f"""
SELECT c.consumer, max(greatest(coalesce(h.position, 0) - c.position, 0)),
       coalesce(extract(epoch FROM clock_timestamp() - min(u.recorded_at)), 0)::float8
FROM {_SERVED}
LEFT JOIN LATERAL (SELECT position FROM events e WHERE e.shard = c.shard ORDER BY position DESC LIMIT 1) h
    ON c.shard >= 0
LEFT JOIN LATERAL (SELECT recorded_at FROM events e WHERE e.shard = c.shard AND e.position > c.position
                   ORDER BY position LIMIT 1) u ON c.shard >= 0
WHERE {_LIVE} AND c.consumer = ANY ($1::text[]) AND c.shard >= 0 GROUP BY c.consumer
UNION ALL
SELECT c.consumer, greatest(h.position - c.position, 0),
       coalesce(extract(epoch FROM clock_timestamp() - u.recorded_at), 0)::float8
FROM checkpoints c
LEFT JOIN LATERAL (SELECT position FROM events ORDER BY position DESC LIMIT 1) h ON true
LEFT JOIN LATERAL (SELECT recorded_at FROM events e WHERE e.position > c.position ORDER BY position LIMIT 1) u ON true
WHERE c.shard < 0 AND c.consumer = ANY ($1::text[])
"""  # noqa: S608


class Grant(NamedTuple):
    """A lease just taken: where its consumer stands, and the owner and epoch that prove the right to move it.

    ``intact``: the event that the checkpoint last passed is still in the log, and the same.
    """

    place: Place
    owner: UUID
    epoch: int
    position: int
    cache_position: int
    intact: bool


class Claim(NamedTuple):
    """How a place stands: its living owner, its epoch, its position, and who of the other living could have it."""

    owner: UUID | None
    epoch: int
    position: int
    able: frozenset[UUID]


class Lag(NamedTuple):
    """How far a consumer is behind the log, whoever owns it: events of the furthest shard, age of the oldest."""

    consumer: str
    events: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How the places stand that the worker is able to serve."""

    places: Mapping[Place, Claim]

    def plan(self, me: UUID) -> Plan:
        """The worker's next steps. Places that the same workers can serve are shared out among those, by shards."""
        plans = [plan(me, able, [(place, self.places[place].owner) for place in places]) for able, places in self._by()]
        return Plan(take=[p for each in plans for p in each.take], release=[p for each in plans for p in each.release])

    def _by(self) -> Iterable[tuple[frozenset[UUID], Sequence[Place]]]:
        """While two releases run side by side there are places that one of them must not touch."""
        ordered = sorted(self.places, key=lambda place: (sorted(self.places[place].able), place))
        return [(able, list(places)) for able, places in groupby(ordered, key=lambda place: self.places[place].able)]


class Membership:
    """One worker's part in the sharing out. Raises :class:`~infra.errors.Unavailable` throughout.

    ``serves`` are the consumers that it runs, each with its code's version: 0 where there is none.
    """

    def __init__(self, database: Database, *, kind: str, serves: Mapping[str, int], lease_seconds: float) -> None:
        self.worker_id = uuid4()
        self._database = database
        self._kind = kind
        self._consumers = list(serves)
        self._serves = [f"{name}@{version}" for name, version in serves.items()]
        self._lease_seconds = lease_seconds

    async def enrol(self, places: Sequence[Place] = ()) -> None:
        """Makes the worker known, sweeps out those long dead, and makes the places that are not there yet.

        Those of read models are there: they come with their tables.
        """
        async with self._database.write() as session:
            await self._beat(session)
            await session.execute(_SWEEP)
            if places:
                await session.execute(_ENROL, *zip(*places, strict=True))

    async def beat(self) -> Standing:
        """The heartbeat, and how things stand."""
        async with self._database.session() as session:
            await self._beat(session)
            return await self._standing(session)

    async def lag(self) -> list[Lag]:
        """How far the consumers are behind."""
        return await lag_of(self._database, self._consumers)

    async def take_share(self) -> list[Grant]:
        """Takes what is free, up to a fair share.

        One worker of the kind at a time: two that took parts of the same shards would have to sort it out later.
        """
        async with self._database.write() as session:
            await session.execute(_IN_TURN, self._kind)
            standing = await self._standing(session)
            return await self._take(session, standing.plan(self.worker_id).take)

    async def retake(self, places: Sequence[Place]) -> list[Grant]:
        """Takes places anew that are ours, or nobody's, under new epochs."""
        async with self._database.session() as session:
            return await self._take(session, places)

    async def note(self, held: Sequence[tuple[Place, int, int]], eras: Sequence[str] | None = None) -> None:
        """Writes down how far the caches have followed; each place is named with its epoch and that position.

        ``eras`` are the memories in which they did; without these, in the one that stands there.
        """
        await self._note(held, eras, releasing=False)

    async def release(self, held: Sequence[tuple[Place, int, int]]) -> None:
        """Gives back what is ours, named in the same way."""
        await self._note(held, None, releasing=True)

    async def _note(
        self, held: Sequence[tuple[Place, int, int]], eras: Sequence[str] | None, *, releasing: bool
    ) -> None:
        columns = list(zip(*((*place, epoch, cache_position) for place, epoch, cache_position in held), strict=True))
        if columns:
            await self._database.execute(_NOTE, self.worker_id, *columns, releasing, eras or [""] * len(held))

    async def spoil(self, grant: Grant, head: int) -> None:
        """Sees to a place that is not ``intact``.

        A read model gets a version that no code has: it is given to nobody, and is made anew. What others have done
        cannot be undone, so they go on where the log does.
        """
        if grant.place.generation:
            await self._database.execute(_SPOIL, grant.place.consumer, grant.place.generation)
        else:
            await self._database.execute(_GO_ON, *grant.place, grant.owner, grant.epoch, head)

    async def leave(self) -> None:
        """Says farewell, so that the others need not wait until the heartbeat is stale."""
        await self._database.execute("DELETE FROM workers WHERE worker_id = $1", self.worker_id)

    async def _beat(self, session: Session) -> None:
        await session.execute(_BEAT, self.worker_id, self._kind, socket.gethostname(), os.getpid(), self._serves)

    async def _standing(self, session: Session) -> Standing:
        rows = await session.fetch(_STANDING, self.worker_id, self._lease_seconds, self._kind, self._serves)
        return Standing(places={Place(*row[:3]): Claim(row[3], row[4], row[5], frozenset(row[6])) for row in rows})

    async def _take(self, session: Session, places: Sequence[Place]) -> list[Grant]:
        if not places:
            return []
        columns = list(zip(*places, strict=True))
        rows = await session.fetch(_TAKE, self.worker_id, self._lease_seconds, *columns)
        return [Grant(Place(*row[:3]), *row[3:]) for row in rows]


async def lag_of(database: Database, consumers: Collection[str]) -> list[Lag]:
    """How far those consumers are behind, whoever owns them."""
    return [Lag(*row) for row in await database.fetch(_LAG, list(consumers))]


async def anybody(database: Database, kind: str, lease_seconds: float) -> bool:
    """Whether a worker of that kind is alive, as far as heartbeats tell."""
    found = await database.fetchrow(_ANYBODY, kind, lease_seconds)
    return bool(found and found[0])
