"""A worker among others: its heartbeat, and the leases on checkpoints that it takes and gives back."""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from infra.database import Database
from infra.leases.shares import Place, plan
from infra.log import Session

_BEAT: Final = (
    "INSERT INTO workers (worker_id, kind, host, pid) VALUES ($1, $2, $3, $4) "
    "ON CONFLICT (worker_id) DO UPDATE SET heartbeat_at = now()"
)
_ENROL: Final = (
    "INSERT INTO checkpoints (consumer, generation, shard) "
    "SELECT * FROM unnest($1::text[], $2::integer[], $3::smallint[]) ON CONFLICT DO NOTHING"
)
_ALIVE: Final = "heartbeat_at > now() - make_interval(secs => $2)"

# A read model's checkpoints count in the generation that is served; other consumers have one generation, 0.
_STANDING: Final = f"""
WITH alive AS (SELECT worker_id, kind FROM workers WHERE {_ALIVE} AND worker_id <> $1)
SELECT c.consumer, c.generation, c.shard, c.epoch, CASE WHEN c.owner = $1 THEN c.owner ELSE a.worker_id END AS owner,
       (SELECT array_agg(worker_id) FROM alive WHERE kind = $3) AS others, c.position
FROM checkpoints c
LEFT JOIN projections p ON p.name = c.consumer
LEFT JOIN alive a ON a.worker_id = c.owner
WHERE c.consumer = ANY($4::text[]) AND c.generation = coalesce(p.live_generation, 0)
"""  # noqa: S608

_TAKE: Final = f"""
UPDATE checkpoints c SET owner = $1, epoch = c.epoch + 1, updated_at = now()
FROM unnest($3::text[], $4::integer[], $5::smallint[]) AS t (consumer, generation, shard)
WHERE c.consumer = t.consumer AND c.generation = t.generation AND c.shard = t.shard
  AND (c.owner IS NULL OR c.owner = $1
       OR NOT EXISTS (SELECT FROM workers w WHERE w.worker_id = c.owner AND {_ALIVE}))
RETURNING c.consumer, c.generation, c.shard, c.position, least(c.refreshed, c.position), c.epoch
"""  # noqa: S608

_NOTE: Final = """
UPDATE checkpoints c SET owner = CASE WHEN $7 THEN NULL ELSE c.owner END, refreshed = least(t.refreshed, c.position)
FROM unnest($2::text[], $3::integer[], $4::smallint[], $5::bigint[], $6::bigint[])
     AS t (consumer, generation, shard, epoch, refreshed)
WHERE c.consumer = t.consumer AND c.generation = t.generation AND c.shard = t.shard
  AND c.owner = $1 AND c.epoch = t.epoch
"""


class Grant(NamedTuple):
    """A lease just taken: where its consumer stands, and the epoch that proves the owner."""

    place: Place
    position: int
    refreshed: int
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How things stand: the other living workers of the kind, and each place with its living owner and its epoch.

    ``positions`` are those that the checkpoints have in the database.
    """

    others: frozenset[UUID]
    places: dict[Place, tuple[UUID | None, int]]
    positions: dict[Place, int]

    @property
    def owners(self) -> Iterable[tuple[Place, UUID | None]]:
        """Each place with its living owner."""
        return ((place, owner) for place, (owner, _) in self.places.items())


class Membership:
    """One worker's part in the sharing out of ``consumers``. Raises :class:`~infra.errors.Unavailable` throughout."""

    def __init__(self, database: Database, *, kind: str, consumers: Sequence[str], lease_seconds: float) -> None:
        self.worker_id = uuid4()
        self._database = database
        self._kind = kind
        self._consumers = list(consumers)
        self._lease_seconds = lease_seconds

    async def enrol(self, places: Sequence[Place] = ()) -> None:
        """Makes the worker known, sweeps out those long dead, and makes the places that are not there yet.

        Those of read models are there: they come with their tables.
        """
        async with self._database.write() as session:
            await self._beat(session)
            await session.execute("DELETE FROM workers WHERE heartbeat_at < now() - interval '1 hour'")
            if places:
                await session.execute(_ENROL, *zip(*places, strict=True))

    async def beat(self) -> Standing:
        """The heartbeat, and how things stand."""
        async with self._database.session() as session:
            await self._beat(session)
            return await self._standing(session)

    async def take_share(self) -> list[Grant]:
        """Takes what is free, up to a fair share.

        One worker of the kind at a time: two that took parts of the same shards would have to sort it out later.
        """
        async with self._database.write() as session:
            await session.execute("SELECT pg_advisory_xact_lock(hashtextextended('weir:' || $1, 0))", self._kind)
            standing = await self._standing(session)
            places = plan(self.worker_id, standing.others, standing.owners).take
            return await self._take(session, places)

    async def retake(self, places: Sequence[Place]) -> list[Grant]:
        """Takes places anew that are ours, or nobody's, under new epochs."""
        async with self._database.session() as session:
            return await self._take(session, places)

    async def note(self, held: Sequence[tuple[Place, int, int]]) -> None:
        """Writes down how far the caches have followed; each place is named with its epoch and that position."""
        await self._note(held, releasing=False)

    async def release(self, held: Sequence[tuple[Place, int, int]]) -> None:
        """Gives back what is ours, named in the same way."""
        await self._note(held, releasing=True)

    async def _note(self, held: Sequence[tuple[Place, int, int]], *, releasing: bool) -> None:
        columns = list(zip(*((*place, epoch, refreshed) for place, epoch, refreshed in held), strict=True))
        if columns:
            await self._database.execute(_NOTE, self.worker_id, *columns, releasing)

    async def leave(self) -> None:
        """Says farewell, so that the others need not wait until the heartbeat is stale."""
        await self._database.execute("DELETE FROM workers WHERE worker_id = $1", self.worker_id)

    async def _beat(self, session: Session) -> None:
        await session.execute(_BEAT, self.worker_id, self._kind, socket.gethostname(), os.getpid())

    async def _standing(self, session: Session) -> Standing:
        rows = await session.fetch(_STANDING, self.worker_id, self._lease_seconds, self._kind, self._consumers)
        return Standing(
            others=frozenset(rows[0]["others"] or ()) if rows else frozenset(),
            places={Place(row[0], row[1], row[2]): (row[4], row[3]) for row in rows},
            positions={Place(row[0], row[1], row[2]): row[6] for row in rows},
        )

    async def _take(self, session: Session, places: Sequence[Place]) -> list[Grant]:
        if not places:
            return []
        columns = list(zip(*places, strict=True))
        rows = await session.fetch(_TAKE, self.worker_id, self._lease_seconds, *columns)
        return [Grant(Place(*row[:3]), *row[3:]) for row in rows]
