"""Generations of read models: their tables, the pointer to the one that is served, and the checkpoints of each."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from infra.concurrency.cancellation import cancel_and_wait
from infra.eventsourcing.event_log import Session, log_head
from infra.eventsourcing.projections.projection import Column, Projection
from infra.eventsourcing.projections.table_name import index_names
from infra.postgres.pool import Reader

FIRST: Final = 1
STORAGE: Final = (
    "fillfactor = 80, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.05, "
    "autovacuum_vacuum_insert_scale_factor = 0.05"
)
"""A table that grows by an import must not wait for its statistics until a tenth of it is new."""


async def install(session: Session, projections: Mapping[str, Projection[Any]]) -> None:
    """Lays down the first generation of every read model that has none; what is there already is left alone."""
    async with session.transaction():
        # Two `weir migrate` at once: the second waits here, and then finds all done.
        await session.execute("LOCK TABLE projections IN SHARE ROW EXCLUSIVE MODE")
        there = {row["name"] for row in await session.fetch("SELECT name FROM projections")}
        for projection in projections.values():
            if projection.name not in there:
                await _lay_down(session, projection)


async def outdated(
    session: Reader, projections: Mapping[str, Projection[Any]], *, spoiled: bool = False
) -> list[Projection[Any]]:
    """The read models whose served rows were folded by code of another version: they are to be built anew.

    ``spoiled``: only those of no version, which were made of nothing yet, or of events that the log has lost.
    """
    rows = await session.fetch(
        "SELECT p.name, g.code_version FROM projections p JOIN generations g "
        "ON g.projection = p.name AND g.generation = p.live_generation"
    )
    served = {row["name"]: row["code_version"] for row in rows}
    found = [each for each in projections.values() if served.get(each.name, each.version) != each.version]
    return [each for each in found if not (spoiled and served[each.name])]


async def are_up_to_date(session: Reader, projections: Mapping[str, Projection[Any]]) -> bool:
    """Whether every read model is there, and none of them is outdated: a release that finds them so can serve them."""
    there = {row["name"] for row in await session.fetch("SELECT name FROM projections")}
    return {each.name for each in projections.values()} <= there and not await outdated(session, projections)


async def _lay_down(session: Session, projection: Projection[Any]) -> None:
    name = projection.name
    # Over a log that has events already an empty table is not what they make: it counts as outdated and not finished,
    # is built by the same `weir migrate`, and until then is given to no worker and served to no reader.
    version = projection.version if await log_head(session) == 0 else 0
    await session.execute("INSERT INTO projections (name, live_generation) VALUES ($1, $2)", name, FIRST)
    await session.execute(
        "INSERT INTO generations (projection, generation, code_version, state, finished_at) "
        "VALUES ($1, $2, $3, 'live', CASE WHEN $3 > 0 THEN now() END)",
        name,
        FIRST,
        version,
    )
    await create_table(session, projection, FIRST)
    await create_indexes([session], projection, FIRST)
    await session.execute(
        "INSERT INTO checkpoints (consumer, generation, shard) "
        "SELECT $1, $2, shard FROM log_head, generate_series(0, shards - 1) AS shard",
        name,
        FIRST,
    )


async def create_table(session: Session, projection: Projection[Any], generation: int) -> None:
    """Makes the table of a generation, without what only readers need: rows are copied in faster that way.

    ``position`` is that of the last event in the row, ``document`` the answer as it is sent (``json`` keeps its bytes).
    """
    columns = "".join(f", {_defined(column)}" for column in projection.columns)
    columns += "".join(f", {definition}" for definition in projection.derived)
    await session.execute(
        f"CREATE TABLE {projection.table(generation)} (key text NOT NULL, position bigint NOT NULL, "
        f"version integer NOT NULL, document json NOT NULL{columns}) WITH ({STORAGE})"
    )


def _defined(column: Column[Any]) -> str:
    """The column, as a table is made with it. Types that have no collation take no word on one."""
    collation = "" if column.collation is None else f' COLLATE "{column.collation}"'
    return f"{column.name} {column.type}{collation}"


async def create_indexes(sessions: Sequence[Session], projection: Projection[Any], generation: int) -> None:
    """Makes the primary key and the indexes that lists need, as many at a time as there are connections."""
    table = projection.table(generation)
    names = index_names(table, projection.indexes)
    wanted = iter(
        [
            f"CREATE UNIQUE INDEX {table}_pkey ON {table} (key)",
            *[f"CREATE INDEX {names[place]} ON {table} {each}" for place, each in enumerate(projection.indexes)],
        ]
    )

    async def make_some(session: Session) -> None:
        for statement in wanted:
            await session.execute(statement)

    making = [asyncio.create_task(make_some(session)) for session in sessions]
    try:
        await asyncio.gather(*making)
    finally:
        await cancel_and_wait(*making)
    # A key that is made by itself locks the table against the making of other indexes; this takes one that is there.
    await sessions[0].execute(f"ALTER TABLE {table} ADD PRIMARY KEY USING INDEX {table}_pkey")


async def live_generation(session: Session, name: str) -> int:
    """The generation that is served. Raises ``KeyError`` for a read model that was never installed."""
    found: asyncpg.Record | None = await session.fetchrow(
        "SELECT live_generation FROM projections WHERE name = $1", name
    )
    if found is None:
        raise KeyError(name)
    generation: int = found["live_generation"]
    return generation
