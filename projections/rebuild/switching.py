"""The end of a rebuild: the new generation catches up as a consumer would, and takes the place of the live one."""

from dataclasses import dataclass
from typing import Final

import orjson
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.errors import Fenced
from infra.leases import Place
from infra.log import Log, Session, read_shard, shard_heads
from infra.streams import BROKEN, Keys, open_redis
from projections.generations import create_indexes
from projections.rebuild.generation import Building, drop
from projections.runtime.consumer import Lease, Step
from projections.runtime.inbox import Inbox
from projections.runtime.keeping import Keeping
from projections.runtime.metrics import RuntimeMetrics

PAGE: Final = 1_000
CLOSE: Final = 200
"""So few events behind, the rest can be applied while the live checkpoints are locked: some milliseconds."""
SORTING: Final = "256MB"
"""What the sort for an index may have, so that it need not go through files."""
MOST_ROUNDS: Final = 1_000


class NeverCaughtUp(Exception):
    """The log grows faster than a generation can be brought up to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """What a rebuild has come to."""

    generation: int
    retired: int
    dropped: list[int]
    parked: int
    caught_up: int


async def finish(session: Session, building: Building) -> Switched:
    """Makes the indexes, catches up, and switches. Until the switch has committed, readers notice nothing."""
    projection = building.projection
    await session.execute(f"SET maintenance_work_mem = '{SORTING}'")
    await create_indexes(session, projection, building.generation)
    # The planner knows the table then, and no scan has to look up whether its rows are seen by everyone.
    await session.execute(f"VACUUM (ANALYZE) {projection.table(building.generation)}")
    follower = Follower(session, building)
    await follower.load()
    caught_up = await follower.catch_up()
    async with session.transaction():
        caught_up += await switch(session, building, follower)
    return Switched(
        generation=building.generation,
        retired=building.live,
        dropped=await drop(session, projection, "generation < $2", building.live),
        parked=await session.fetchval(
            "SELECT count(*) FROM parked WHERE consumer = $1 AND generation = $2", projection.name, building.generation
        ),
        caught_up=caught_up,
    )


async def announce(url: SecretStr, log: Log, building: Building) -> None:
    """Tells the processes that read. Who misses it sees it within a second, by looking at the pointer."""
    message = orjson.dumps({"switch": building.projection.name, "g": building.generation})
    redis = open_redis(url)
    try:
        await redis.publish(Keys.of(log.log_id).applied, message)
    except BROKEN:
        pass
    finally:
        await redis.aclose()


async def switch(session: Session, building: Building, follower: "Follower") -> int:
    """One transaction. Locking the live checkpoints stops their owners; what they have applied is applied here too."""
    name, new, old = building.projection.name, building.generation, building.live
    rows = await session.fetch(
        "SELECT shard, position FROM checkpoints WHERE consumer = $1 AND generation = $2 ORDER BY shard FOR UPDATE",
        name,
        old,
    )
    applied = sum([await follower.advance_to(row["shard"], row["position"]) for row in rows])
    await session.execute(
        "UPDATE generations SET state = CASE generation WHEN $2 THEN 'live' ELSE 'retired' END, "
        "finished_at = CASE generation WHEN $2 THEN clock_timestamp() ELSE finished_at END "
        "WHERE projection = $1 AND generation IN ($2, $3)",
        name,
        new,
        old,
    )
    await session.execute("UPDATE projections SET live_generation = $2 WHERE name = $1", name, new)
    # The owners of the old generation are fenced: they find the new one when they look why. Its cache is empty, so
    # there is nothing in it to be refreshed.
    await session.execute(
        "UPDATE checkpoints SET epoch = epoch + 1, owner = NULL, "
        "refreshed = CASE generation WHEN $2 THEN position ELSE refreshed END "
        "WHERE consumer = $1 AND generation IN ($2, $3)",
        name,
        new,
        old,
    )
    await session.execute("SET LOCAL synchronous_commit = on")
    return applied


class Follower:
    """Keeps the new generation like a consumer that has all its shards."""

    def __init__(self, session: Session, building: Building) -> None:
        self._session = session
        self._building = building
        name = building.projection.name
        self._keeping = Keeping(building.projection, building.generation, RuntimeMetrics(CollectorRegistry()).of(name))
        self._leases: dict[int, Lease] = {}

    async def load(self) -> None:
        """Lays down checkpoints at each shard's last event that was built, of whatever kind, and goes on from there."""
        name, generation = self._keeping.name, self._keeping.generation
        heads = await shard_heads(self._session, self._building.shards, self._building.head)
        rows = await self._session.fetch(
            "INSERT INTO checkpoints (consumer, generation, shard, position) "
            "SELECT $1, $2, s, p FROM unnest($3::smallint[], $4::bigint[]) AS u (s, p) "
            "RETURNING shard, position, epoch",
            name,
            generation,
            list(heads),
            list(heads.values()),
        )
        for shard, position, epoch in rows:
            self._leases[shard] = Lease(
                place=Place(name, generation, shard),
                epoch=epoch,
                position=position,
                refreshed=position,
                noted=position,
                inbox=Inbox(position, whole=False, wake=_nobody),
            )

    async def catch_up(self) -> int:
        """Applies what has come since, until hardly anything comes."""
        applied = 0
        for _ in range(MOST_ROUNDS):
            page = sum([await self._advance(lease, None) for lease in self._leases.values()])
            applied += page
            if page < CLOSE:
                return applied
        raise NeverCaughtUp(self._keeping.name)

    async def advance_to(self, shard: int, position: int) -> int:
        """Applies the shard's events up to a position; it may be there already, and further."""
        lease, applied = self._leases[shard], 0
        while lease.position < position:
            applied += await self._advance(lease, position)
        return applied

    async def _advance(self, lease: Lease, upto: int | None) -> int:
        page = await read_shard(self._session, lease.shard, lease.position, PAGE)
        entries = [entry for entry in page if upto is None or entry.position <= upto]
        if not entries:
            return 0
        wanted = [entry for entry in entries if self._building.projection.concerns(entry.type)]
        step = Step(lease, wanted, entries[-1].position)
        if lease.shard not in await self._keeping.advance(self._session, [step]):
            raise Fenced(self._keeping.name, lease.shard)
        lease.position = lease.refreshed = step.upto
        return len(entries)


def _nobody() -> None:
    """Nobody waits at this inbox: pages are read as they are needed."""
