"""The end of a rebuild: the new generation catches up as a consumer would, and takes the place of the live one."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson
import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.errors import Fenced
from infra.eventsourcing.consumers.consumer import Batch, Lease, Refusal, is_poison
from infra.eventsourcing.consumers.metrics import RuntimeMetrics
from infra.eventsourcing.event_log import LAST, Entry, Session, log_head, shard_heads
from infra.eventsourcing.leases import Place
from infra.eventsourcing.leases.checkpoints import guard
from infra.eventsourcing.projections.fold import describe
from infra.eventsourcing.projections.rebuild.builder import build_plainly
from infra.eventsourcing.projections.rebuild.indexing import index
from infra.eventsourcing.projections.rebuild.new_generation import OUTLIVED, Building, drop
from infra.eventsourcing.projections.rebuild.sampling import differences
from infra.eventsourcing.projections.row_keeper import Keeping
from infra.redis.client import BROKEN
from infra.redis.keyspace import Keyspace
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to

PAGE: Final = 1_000
CLOSE: Final = 200
"""So few events behind, the rest can be applied while the live checkpoints are locked: some milliseconds."""
MOST_ROUNDS: Final = 1_000
MOST_ATTEMPTS: Final = 60

_log = structlog.get_logger("weir.rebuild")


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


async def finish(session: Session, building: Building, url: SecretStr | None = None) -> Switched:
    """Makes the indexes, proves a sample, catches up, and switches. Until it has committed, readers notice nothing.

    ``url``: where there are connections to make indexes side by side, one for each processor.
    """
    projection = building.projection
    await index(session, building, url)
    # The planner knows the table then, and no scan has to look up whether its rows are seen by everyone.
    await session.execute(f"VACUUM (ANALYZE) {projection.table(building.generation)}")
    if differing := await differences(session, building):
        _log.error("built rows differ from the plain fold", projection=projection.name, rows=len(differing))
        await build_plainly(session, building)
    follower = Follower(session, building)
    await follower.load()
    caught_up = await follower.catch_up()
    caught_up += await _switched(session, building, follower)
    return Switched(
        generation=building.generation,
        retired=building.live,
        dropped=await drop(session, projection, OUTLIVED, building.live),
        parked=await session.fetchval(
            "SELECT count(*) FROM parked WHERE consumer = $1 AND generation = $2", projection.name, building.generation
        ),
        caught_up=caught_up,
    )


async def announce(url: SecretStr, building: Building) -> None:
    """Tells the processes that read. Who misses it sees it within a second, by looking at the pointer."""
    message = orjson.dumps({"switch": building.projection.name, "g": building.generation})
    topic = Keyspace.of(building.log.history).applied
    with suppress(*BROKEN):
        wire = await connect_to(url, topic)
        try:
            await wire.ask_one(pack("PUBLISH", topic, message))
        finally:
            wire.close()


async def _switched(session: Session, building: Building, follower: "Follower") -> int:
    """Switches. Where somebody holds a live checkpoint for long, it waits its turn again: a rebuild takes hours."""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            async with session.transaction():
                await guard(session)
                return await switch(session, building, follower)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if attempt == MOST_ATTEMPTS:
                raise
            _log.warning("switch postponed", projection=building.projection.name, error=str(error))
            await follower.load()  # what it remembers may have been undone with the attempt
            await follower.catch_up()
    raise AssertionError


async def switch(session: Session, building: Building, follower: "Follower") -> int:
    """One transaction. Locking the live checkpoints stops their owners; what they have applied is applied here too."""
    name, new, old = building.projection.name, building.generation, building.live
    rows = await session.fetch(
        "SELECT shard, position FROM checkpoints WHERE consumer = $1 AND generation = $2 ORDER BY shard FOR UPDATE",
        name,
        old,
    )
    head = await log_head(session)
    applied = sum([await follower.advance_to(row["shard"], min(row["position"], head)) for row in rows])
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
        self._leases: dict[int, Lease] = {}

    async def load(self) -> None:
        """Goes on from the checkpoints; at first from each shard's last event that was built, of whatever kind."""
        projection, generation = self._building.projection, self._building.generation
        metrics = RuntimeMetrics(CollectorRegistry())
        self._keeping = Keeping({projection.name: projection}, self._building.log, metrics)
        heads = await shard_heads(self._session, self._building.shards, self._building.head)
        await self._session.execute(
            "INSERT INTO checkpoints (consumer, generation, shard, position) "
            "SELECT $1, $2, s, p FROM unnest($3::smallint[], $4::bigint[]) AS u (s, p) ON CONFLICT DO NOTHING",
            projection.name,
            generation,
            list(heads),
            list(heads.values()),
        )
        rows = await self._session.fetch(
            "SELECT shard, owner, epoch, position FROM checkpoints WHERE consumer = $1 AND generation = $2",
            projection.name,
            generation,
        )
        for shard, owner, epoch, position in rows:
            place = Place(projection.name, generation, shard)
            self._leases[shard] = Lease(
                place=place, owner=owner, epoch=epoch, position=position, cache_position=position
            )

    async def catch_up(self) -> int:
        """Applies what has come since, until hardly anything comes."""
        applied = 0
        for _ in range(MOST_ROUNDS):
            page = sum([await self._advance(lease, LAST) for lease in self._leases.values()])
            applied += page
            if page < CLOSE:
                return applied
        raise NeverCaughtUp(self._building.projection.name)

    async def advance_to(self, shard: int, position: int) -> int:
        """Applies the shard's events up to a position; it may be there already, and further."""
        lease, applied = self._leases[shard], 0
        while lease.position < position and (page := await self._advance(lease, position)):
            applied += page
        if lease.position < position:
            # Behind the last event of the shard, as a change of shards puts all checkpoints at the head of the log: a
            # reader's token may be of an event that was in this shard before.
            await self._apply(Batch(lease, [], position, None))
        return applied

    async def _advance(self, lease: Lease, upto: int) -> int:
        entries = await self._building.log.read_shard(self._session, lease.shard, lease.position, PAGE, last=upto)
        if not entries:
            return 0
        wanted = [entry for entry in entries if self._building.concerns(entry.type)]
        last = entries[-1]
        try:
            await self._apply(Batch(lease, wanted, last.position, last.recorded_at))
        except Exception as error:
            if not is_poison(error):
                raise
            await self._isolate(lease, wanted)
            await self._apply(Batch(lease, [], last.position, last.recorded_at))
        return len(entries)

    async def _apply(self, batch: Batch, error: str | None = None) -> None:
        """Applies the batch; with an error, sets the stream of its event aside."""
        async with self._session.transaction():
            if error is None:
                answers = await self._keeping.advance(self._session, [batch])
            else:
                answers = await self._keeping.park(self._session, batch, error)
        if isinstance(answers[batch.lease], Refusal):
            raise Fenced(batch.lease.place.consumer, batch.lease.shard)
        batch.lease.position = batch.lease.cache_position = batch.upto

    async def _isolate(self, lease: Lease, entries: Sequence[Entry]) -> None:
        """Event by event, as Postgres refuses what one of them leads to."""
        for entry in entries:
            batch = Batch(lease, [entry], entry.position, entry.recorded_at)
            try:
                await self._apply(batch)
            except Exception as error:
                if not is_poison(error):
                    raise
                await self._apply(batch, describe(error))
