"""A read model for tests, and a consumer that keeps it one step at a time: commit, refresh, announce."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
from pydantic import SecretStr

from infra.concurrency.cancellation import cancel_and_wait
from infra.configs import cache_of, pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.read_cache import Document, Documents, Reads, Refresher
from infra.eventsourcing.read_cache.redis_cache import Place, RemoteCache
from infra.eventsourcing.read_cache.visibility import Sight
from infra.postgres.pool import Database
from infra.redis.keyspace import Keyspace
from infra.settings import Settings

NAME = "thing"
SHARD = 0


def present(document: Document) -> str:
    return document.body.decode()


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """Writes rows as a consumer of shard 0 does, one step at a time."""

    database: Database
    refresher: Refresher
    generation: int = 1

    async def commit(self, key: str, position: int, body: str) -> tuple[str, Document]:
        """The row and the checkpoint."""
        document = Document(position, position, body.encode())
        await self.database.execute(
            f"INSERT INTO rm_{NAME}_{self.generation} VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO UPDATE SET "
            "position = excluded.position, version = excluded.version, document = excluded.document",
            key,
            position,
            position,
            document.body,
        )
        await self.advance(position)
        return key, document

    async def delete(self, key: str, position: int) -> tuple[str, Document]:
        await self.database.execute(f"DELETE FROM rm_{NAME}_{self.generation} WHERE key = $1", key)
        await self.advance(position)
        return key, Document(position, 0, b"")

    async def advance(self, position: int) -> None:
        await self.database.execute("UPDATE log_head SET position = greatest(position, $1)", position)
        await self.database.execute(
            "UPDATE checkpoints SET position = $3 WHERE consumer = $1 AND generation = $2 AND shard = 0",
            NAME,
            self.generation,
            position,
        )

    async def refresh(self, *changes: tuple[str, Document]) -> None:
        await self.refresher.refresh(NAME, self.generation, changes)

    async def announce(self, *changes: tuple[str, Document], position: int | None = None) -> None:
        """The announcement, and then the note that the cache is refreshed."""
        keys = [(key, document.position) for key, document in changes]
        reached = max([each for _, each in keys]) if position is None else position
        await self.refresher.announce(NAME, self.generation, SHARD, reached, keys)
        await self.database.execute(
            "UPDATE checkpoints SET refreshed = $3, refreshed_era = $4"
            " WHERE consumer = $1 AND generation = $2 AND shard = 0",
            NAME,
            self.generation,
            reached,
            self.refresher.era,
        )

    async def write(self, key: str, position: int, body: str) -> None:
        """All of it."""
        change = await self.commit(key, position, body)
        await self.refresh(change)
        await self.announce(change)


async def lay_down(database: Database, generation: int = 1) -> None:
    """An empty generation of the read model; the first one is served."""
    await database.execute(
        f"CREATE TABLE rm_{NAME}_{generation} "
        "(key text PRIMARY KEY, position bigint NOT NULL, version integer NOT NULL, document json NOT NULL)"
    )
    await database.execute("INSERT INTO projections VALUES ($1, $2) ON CONFLICT DO NOTHING", NAME, generation)
    await database.execute(
        "INSERT INTO checkpoints (consumer, generation, shard) SELECT $1, $2, generate_series(0, 3)", NAME, generation
    )


class CountingDatabase(Database):
    """Counts statements, and how many were under way at once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(pool_of(settings))
        self.statements: list[str] = []
        self.most_at_once = 0
        self._at_once = 0

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        self.statements.append(statement)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await super().fetch(statement, *arguments)
        finally:
            self._at_once -= 1


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A process that reads."""

    reads: Reads
    database: CountingDatabase

    @property
    def things(self) -> Documents[str]:
        return self.reads.documents[NAME]

    async def get(self, key: str) -> str | None:
        return await self.things.get(key)

    async def fresh(self, key: str, position: int, seconds: float = 5) -> str | None:
        """As an endpoint reads for a token that names this position."""
        if await self.reads.see(NAME, {SHARD: position}, seconds) is Sight.STORED:
            return await self.things.past_caches(key)
        return await self.things.get(key)

    async def filled(self) -> None:
        """Returns when everything that was sent to Redis so far has been done: calls on one link keep their order."""
        await self.reads.remote.look(Place(NAME, 0, "nothing"))


@dataclass(frozen=True, kw_only=True)
class World:
    """A consumer that writes, and processes that read, on the same servers."""

    settings: Settings
    database: Database
    log: EventLog
    consumer: Consumer

    def in_generation(self, generation: int) -> Consumer:
        """The consumer of another generation."""
        return replace(self.consumer, generation=generation)

    @asynccontextmanager
    async def reader(self, *, settled: bool = True, **changes: str) -> AsyncIterator[Reader]:
        """Another reading process; ``changes`` to its settings may lead it elsewhere.

        If it is to be ``settled``, it knows what is served before it is used.
        """
        own = Settings.model_validate({**self.settings.model_dump(), **changes})
        database = CountingDatabase(own)
        try:
            reads = Reads(cache_of(own), database, CurrentLog.behind(database, self.log))
            reads.model(NAME, present)
            async with reads.running():
                assert not settled or await reads.watch.ready(5)
                yield Reader(reads=reads, database=database)
        finally:
            await database.close()


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[World]:
    """Servers with an empty read model ``thing`` and its consumer."""
    database = Database(pool_of(settings))
    try:
        await lay_down(database)
        async with database.session() as connection:
            log = await identify(connection, CODEC)
        async with Refresher(cache_of(settings), log).running() as refresher:
            consumer = Consumer(database=database, refresher=refresher)
            yield World(settings=settings, database=database, log=log, consumer=consumer)
    finally:
        await database.close()


@asynccontextmanager
async def cache_at(url: str, keys: Keyspace, *, answer_seconds: float = 1.0) -> AsyncIterator[RemoteCache]:
    """A process's way to the documents in Redis, once it is connected."""
    cache = RemoteCache(SecretStr(url), keys, seconds=60, answer_seconds=answer_seconds)
    keeper = asyncio.create_task(cache.link.keep())
    try:
        assert await cache.link.ready(5)
        yield cache
    finally:
        await cancel_and_wait(keeper)
        await cache.close()
