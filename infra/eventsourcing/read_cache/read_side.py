"""The read side of one process: it knows which generations are served, hears what changes, and fetches documents."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg

from domain.kernel.messages import shard_of
from infra.concurrency.batcher import Batches
from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import NotYetVisible, Unavailable
from infra.eventsourcing.configs import CacheConfig
from infra.eventsourcing.consistency_token import Needs
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.leases import WHOLE
from infra.eventsourcing.projections.table_name import table_name, with_names
from infra.eventsourcing.read_cache.document import Document
from infra.eventsourcing.read_cache.document_cache import Documents, GenerationGone
from infra.eventsourcing.read_cache.read_replica import Outcome, PassedOver, ReadReplica
from infra.eventsourcing.read_cache.redis_cache import NOTHING, Held, Place, RemoteCache
from infra.eventsourcing.read_cache.staleness_monitor import INTERVAL, Watch
from infra.eventsourcing.read_cache.visibility import ProjectionShard, Sight, Visibility
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.redis.push_channel import Channel
from infra.redis.resilient_connection import CacheAway, kept

V = TypeVar("V")

LOOK_SECONDS: Final = 0.1
"""How long Redis may take; after that Postgres is asked, and Redis left alone until it answers again."""

LARGEST_LOAD: Final = 256
LOADS: Final = 2
MOST_WAITING: Final = 2_000
READY_SECONDS: Final = 1.0
PRIMARY_SECONDS: Final = 1.0
"""How long Postgres may take where there is a replica that can answer instead."""
SETTLE_SECONDS: Final = 3 * INTERVAL
"""So long after its start nothing of Postgres is brought to Redis: who looks at it each second knows of it by then."""

# A read model is committed without waiting for the disk. After a crash of Postgres it may be behind what was told of,
# until its consumer has applied the same events again: such rows are served to nobody who knows how far it was. Who has
# begun since takes them for true. In Redis, once the newer ones were evicted there, they would be shown to those who do
# know, and have not noticed the crash yet.
_LOAD: Final = """
SELECT r.key, r.position, r.version, r.document, back.undone, back.up
FROM (SELECT EXISTS (
    SELECT FROM checkpoints c JOIN unnest($4::smallint[], $5::bigint[]) AS known (shard, position) USING (shard)
    WHERE c.consumer = $2 AND c.generation = $3 AND c.position < known.position) AS undone,
    extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS up) AS back
LEFT JOIN {table} AS r ON r.key = ANY($1::text[])"""

Loaded = Document | GenerationGone | None


class Reads:
    """Documents by key for the endpoints of a process.

    Redis away: documents come from Postgres, at most ``LOADS`` statements at a time, each for all who ask meanwhile.
    Postgres away: what is cached is still served, and the rest from a ``replica``, if there is one that is not behind
    what is known; nothing of that is kept. All are asked within bounds, and writes need none of them.
    """

    def __init__(
        self, config: CacheConfig, database: Database, current: CurrentLog, replica: ReadReplica | None = None
    ) -> None:
        self.replica = replica
        keys = Keyspace.of(current.history)
        self._current = current
        self._database = database
        self._settled_at = 0.0
        self._capacity, self._most_bytes = config.local_documents, config.local_bytes
        self.documents: dict[str, Documents[Any]] = {}
        self.visibility = Visibility()
        self.remote = RemoteCache(config.redis_url, keys, seconds=config.seconds, answer_seconds=LOOK_SECONDS)
        self.channel = Channel(config.redis_url, keys.applied, self)
        written = {} if replica is None else {"written": replica.trail.note}
        self.watch = Watch(
            database,
            self.visibility,
            distrust=self._distrust,
            current=current,
            era_of=self.remote.link.era_of,
            **written,
        )
        current.follow(self._begin_anew)
        self._loads: Batches[Place, Loaded] = Batches(
            self._load_all, size=LARGEST_LOAD, flights=LOADS, waiting=MOST_WAITING
        )

    def model(self, name: str, present: Callable[[Document], V]) -> Documents[V]:
        """The documents of a read model, presented by ``present``. To be asked for before the process serves."""
        documents = Documents(name, present, source=self, capacity=self._capacity, most_bytes=self._most_bytes)
        self.documents[name] = documents
        return documents

    def generation(self, projection: str) -> int:
        """The one that is served. Raises Unavailable as long as Postgres has not said so."""
        generation = self.watch.generations.get(projection)
        if generation is None:
            raise Unavailable(f"{projection} is not there yet")
        return generation

    def needs_of(self, entity_id: UUID, needs: Needs) -> Needs:
        """What a token asks of a single entity: at most the position of its own shard."""
        shard = self._shard_of(entity_id)
        return {shard: needs[shard]} if shard in needs else {}

    def needs_to_show(self, entity_id: UUID, position: int) -> Needs:
        """What has to be visible so that an event of the entity is."""
        return {self._shard_of(entity_id): position}

    def _shard_of(self, entity_id: UUID) -> int:
        return shard_of(entity_id, self._current.log.shards)

    async def see(self, projection: str, needs: Needs, seconds: float) -> Sight:
        """Waits until the read model has come as far as ``needs`` asks: TOLD, or STORED if the caches may be behind.

        Raises NotYetVisible after ``seconds``.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._see(projection, needs)
        except TimeoutError:
            raise NotYetVisible from None

    def standing(self, needs: Needs) -> Needs:
        """What a token asks for, but for shards that there are no more: their number is changed only where all that was
        written has been applied."""
        return {shard: position for shard, position in needs.items() if shard < self._current.log.shards}

    async def _see(self, projection: str, needs: Needs) -> Sight:
        needs = self.standing(needs)
        while True:
            generation = self.generation(projection)
            if needs and ProjectionShard(projection, generation, WHOLE) in self.watch.parts:
                needs = {WHOLE: max(needs.values())}
            sights = [
                await self._reach(ProjectionShard(projection, generation, shard), needs[shard]) for shard in needs
            ]
            if Sight.MOVED not in sights:
                return Sight.STORED if Sight.STORED in sights else Sight.TOLD

    async def _reach(self, part: ProjectionShard, position: int) -> Sight:
        if not self.channel.up or part.projection in self.watch.late:
            self.watch.hurry()
        return await self.visibility.reach(part, position)

    def place(self, projection: str, key: str) -> Place:
        """Where the document lies."""
        return Place(projection, self.generation(projection), key)

    async def look(self, place: Place) -> Held:
        """What Redis holds, unless it is away or may be behind."""
        if place.projection in self.watch.late or not self._hears_of_its_cache(place.projection):
            return NOTHING
        try:
            return await self.remote.look(place)
        except CacheAway:
            return NOTHING

    def _hears_of_its_cache(self, projection: str) -> bool:
        """Whether news comes from the very server that holds the documents, and not from the one that replaced it; and
        whether that is the one to which they are brought.
        """
        era = self.remote.link.era
        return self.channel.up and self._heard_era == era and self.watch.kept_in(projection, era)

    @property
    def _heard_era(self) -> str:
        return self.remote.link.era_of(self.channel.run)

    def fill(self, place: Place, held: Held, document: Document | None) -> None:
        """Brings to Redis what it lacked, once Postgres has been there for a while."""
        settled = asyncio.get_running_loop().time() >= self._settled_at
        lasting = settled and document is not None and document.lasting
        self.remote.fill(place, held, document if lasting else None)

    async def load(self, place: Place) -> Document | None:
        """What Postgres holds."""
        loaded = await self._loads.ask(place)
        if isinstance(loaded, GenerationGone):
            raise loaded
        return loaded

    async def _load_all(self, places: list[Place]) -> Sequence[Loaded]:
        found: dict[Place, Loaded] = {}
        for projection, generation in {place[:2] for place in places}:
            keys = [place.key for place in places if place[:2] == (projection, generation)]
            found.update(await self._load_some(projection, generation, keys))
        return [found.get(place) for place in places]

    async def _load_some(self, projection: str, generation: int, keys: Sequence[str]) -> dict[Place, Loaded]:
        known = self.visibility.known(projection, generation)
        statement = with_names(_LOAD, table=table_name(projection, generation))
        asked = (statement, keys, projection, generation, list(known), list(known.values()))
        try:
            async with asyncio.timeout(None if self.replica is None else PRIMARY_SECONDS):
                rows = await self._database.fetch(*asked)
        except asyncpg.UndefinedTableError:
            await self.watch.look(self.channel)
            return {Place(projection, generation, key): GenerationGone() for key in keys}
        except (Unavailable, TimeoutError) as error:
            return _documents(await self._copied(asked, error), projection, generation, lasting=False)
        if rows[0]["undone"]:
            raise Unavailable("Postgres has lost its last commits, and they are being made again")
        self._settled_at = asyncio.get_running_loop().time() + SETTLE_SECONDS - rows[0]["up"]
        return _documents(rows, projection, generation)

    async def _copied(self, asked: Sequence[Any], error: Exception) -> Sequence[asyncpg.Record]:
        """The rows as the replica has them, if it is not behind what is known. Raises Unavailable."""
        if self.replica is None:
            raise error
        _, _, projection, generation, *_ = asked
        try:
            async with self.replica.snapshot({projection: generation}) as session:
                rows = await session.fetch(*asked)
                if rows[0]["undone"]:
                    raise PassedOver(Outcome.BEHIND)
        except PassedOver:
            raise Unavailable("neither Postgres nor its replica can be asked") from error
        return rows

    def opened(self) -> None:
        """News reaches us."""
        for documents in self.documents.values():
            documents.local.open()
        self.watch.hurry()

    def lost(self) -> None:
        """News may be missed."""
        for documents in self.documents.values():
            documents.local.shut()
        self.watch.hurry()

    def announced(self, message: Mapping[str, Any]) -> None:
        """News: rows that have changed, and how far their consumer is. Drops what is older before it wakes anybody."""
        if "switch" in message:
            self.watch.hurry()
            return
        part = ProjectionShard(message["c"], message["g"], message["h"])
        if self.watch.generations.get(part.projection) != part.generation:
            return
        if not self.watch.kept_in(part.projection, self._heard_era):
            self._distrust(part.projection)  # its owner is back from another memory, and what it told there we missed
        documents = self.documents.get(part.projection)
        if documents is not None:
            for key, position in message["k"]:
                documents.local.told(key, position)
        self.visibility.told(part, message["p"])

    def _begin_anew(self, log: EventLog) -> None:
        """Postgres holds another history than it did: all that is known may tell of lost events.

        A connection to a server that was promoted says so before anything is asked there, so whoever has written to
        it is not shown what only the former knew.
        """
        self.lost()
        self.remote.move(Keyspace.of(log.history))
        self.channel.move(Keyspace.of(log.history).applied)
        self.watch.forget()

    def _distrust(self, projection: str) -> None:
        documents = self.documents.get(projection)
        if documents is not None:
            documents.local.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Reads"]:
        """Keeps the connections while inside; on the way in waits a moment, so that the first reads are fast ones."""
        keepers = (self.remote.link.keep, self.channel.keep, partial(self.watch.keep, self.channel))
        tasks = [asyncio.create_task(kept(keeper)) for keeper in keepers]
        try:
            if self.replica is not None:
                tasks.append(asyncio.create_task(self.replica.keep()))
            await asyncio.gather(*(each.ready(READY_SECONDS) for each in (self.remote.link, self.channel, self.watch)))
            yield self
        finally:
            await cancel_and_wait(*tasks)
            await asyncio.gather(self.remote.close(), self._loads.close())
            await asyncio.gather(*(documents.close() for documents in self.documents.values()))


def _documents(
    rows: Sequence[asyncpg.Record], projection: str, generation: int, *, lasting: bool = True
) -> dict[Place, Loaded]:
    """What was found, by where it belongs."""
    found = [row for row in rows if row["key"] is not None]
    return {Place(projection, generation, row[0]): Document(row[1], row[2], row[3], lasting) for row in found}
