"""A read model for tests, and a consumer that keeps it one step at a time: commit, refresh, announce."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infra.cache import Document, Reads, Refresher
from infra.database import Database
from infra.log import Log, identify
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
            "UPDATE checkpoints SET refreshed = $3 WHERE consumer = $1 AND generation = $2 AND shard = 0",
            NAME,
            self.generation,
            reached,
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


@dataclass(frozen=True, kw_only=True)
class World:
    """A process that reads and a consumer that writes, on the same servers."""

    settings: Settings
    database: Database
    log: Log
    consumer: Consumer

    @asynccontextmanager
    async def reads(self, settings: Settings | None = None) -> AsyncIterator[Reads]:
        """Another reading process."""
        own = settings or self.settings
        database = Database(own)
        try:
            reads = Reads(own, database, self.log)
            reads.model(NAME, present)
            async with reads.running():
                yield reads
        finally:
            await database.close()


@asynccontextmanager
async def world(settings: Settings) -> AsyncIterator[World]:
    """Servers with an empty read model ``thing`` and its consumer."""
    database = Database(settings)
    try:
        await lay_down(database)
        async with database.acquire() as connection:
            log = await identify(connection)
        async with Refresher(settings, log).running() as refresher:
            yield World(
                settings=settings,
                database=database,
                log=log,
                consumer=Consumer(database=database, refresher=refresher),
            )
    finally:
        await database.close()
