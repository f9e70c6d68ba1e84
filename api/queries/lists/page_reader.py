"""Reads pages of lists within bounds: of stored documents, of which none is parsed."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from api.errors import Problem
from api.queries.lists.query import Place, Query
from api.queries.lists.statements import ALONG_THE_ORDER, BY_INDEXES, CANDIDATES, FEW, STRETCH
from infra.errors import NotYetVisible, TookTooLong
from infra.eventsourcing.consistency_token import Needs
from infra.eventsourcing.leases import WHOLE
from infra.eventsourcing.read_cache import Reads
from infra.eventsourcing.read_cache.read_replica import Outcome, PassedOver
from infra.postgres.errors import refuses_values
from infra.postgres.pool import Database
from infra.postgres.reader import Snapshot
from infra.postgres.statements import Sent

T = TypeVar("T")

LIST_SECONDS: Final = 2.0
STATEMENT_SECONDS: Final = 1.5
"""The last resort: nothing is known that comes near it."""

UNDONE_SECONDS: Final = 0.05
"""How soon to look again when Postgres has lost commits. Their consumer makes them again within a second."""

_STANDS: Final = """
SELECT c.consumer, c.shard, c.position FROM checkpoints c
JOIN unnest($1::text[], $2::integer[]) AS served (consumer, generation) USING (consumer, generation)"""

_APPLIED: Final = """
SELECT h.head, c.shard, n.next, n.last FROM log_position() AS h (head), checkpoints c, LATERAL (
    SELECT min(e.position) AS next, max(e.position) AS last FROM events e
    WHERE e.shard = c.shard AND e.position > c.position) n
WHERE c.consumer = $1 AND c.generation = $2"""
"""Of each shard the first and the last event that its consumer has not applied yet."""


class _Rows(NamedTuple):
    """Rows of a page, and the last place that was looked at, if the list goes on behind it."""

    rows: Sequence[asyncpg.Record]
    last: Place | None


class _Undone(Exception):
    """Postgres has lost what it was told to have."""


class Pages:
    """Answers lists from Postgres, ``at_once`` at a time."""

    def __init__(
        self, database: Database, reads: Reads, *, at_once: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._reads = reads
        self._turns = asyncio.Semaphore(at_once)
        self._now = clock

    async def see(self, projections: Sequence[str], needs: Needs, until: float) -> None:
        """Waits until all of these read models show what a token asks for. Raises NotYetVisible at that time."""
        for name in projections:
            await self._reads.see(name, needs, until - self._now())

    async def fetch(self, query: Query, limit: int, needs: Needs, wait: float) -> tuple[list[bytes], str | None]:
        """The documents of a page, and the cursor behind them. Raises NotYetVisible and Unavailable.

        All that is waited for shares one ``wait``: it is a promise to the client, however many steps there are.
        """
        until = self._now() + wait
        try:
            return await self._proven(until, lambda: self._fetched(replace(query), limit, needs, until))
        except asyncpg.PostgresError as error:
            if not refuses_values(error):
                raise
            finding = {"pointer": "/query", "code": "invalid-search", "detail": "This cannot be searched for."}
            raise Problem("invalid", errors=[finding]) from None

    async def _fetched(self, query: Query, limit: int, needs: Needs, until: float) -> tuple[list[bytes], str | None]:
        await self.see([query.projection], needs, until)
        if (copied := await self._page_of_replica(query, limit, needs)) is not None:
            return copied
        if query.sort.keeps and query.as_of is None:
            query.as_of = await self._begin(query.projection, needs, until)
        try:
            return await self._page(query, limit, needs)
        except asyncpg.UndefinedTableError:
            await self._reads.watch.look(self._reads.channel)
            return await self._page(query, limit, needs)

    async def _page(self, query: Query, limit: int, needs: Needs) -> tuple[list[bytes], str | None]:
        served = self._served([query.projection])
        async with self._snapshot(served, needs, ALONG_THE_ORDER) as session:
            return await _page(session, query, served[query.projection], limit)

    async def _page_of_replica(self, query: Query, limit: int, needs: Needs) -> tuple[list[bytes], str | None] | None:
        """The page, if the replica has all that it must show: what a token asks for, and all up to the position as of
        which the list is, wherever that was begun.
        """
        own, served = replace(query), self._served([query.projection])

        async def read(session: Snapshot) -> tuple[list[bytes], str | None]:
            generation = served[query.projection]
            if own.sort.keeps:
                applied, _ = _applied(await session.fetch(_APPLIED, own.projection, generation))
                own.as_of = applied if own.as_of is None else own.as_of
                if applied < max([own.as_of, *needs.values()]):
                    raise PassedOver(Outcome.BEHIND)
            return await _page(session, own, generation, limit)

        return await self._of_replica(served, needs, read, ALONG_THE_ORDER)

    async def _of_replica(
        self,
        served: Mapping[str, int],
        needs: Needs,
        read: Callable[[Snapshot], Awaitable[T]],
        planner: Mapping[str, str] | None = None,
    ) -> T | None:
        """What is read from the replica; None where there is none, or where it is passed over."""
        replica = self._reads.replica
        if replica is None:
            return None
        try:
            async with replica.snapshot(served, planner) as session:
                if not await _has(session, served, self._reads.standing(needs)):
                    raise PassedOver(Outcome.BEHIND)
                return await read(session)
        except PassedOver:
            return None

    async def _proven(self, until: float, read: Callable[[], Awaitable[T]]) -> T:
        """What is read, once it has what was asked for. Raises NotYetVisible if it has not in time."""
        while True:
            try:
                return await read()
            except _Undone:
                if self._now() + UNDONE_SECONDS >= until:
                    raise NotYetVisible from None
                await asyncio.sleep(UNDONE_SECONDS)

    @asynccontextmanager
    async def _snapshot(
        self, served: Mapping[str, int], needs: Needs, planner: Mapping[str, str] | None = None
    ) -> AsyncIterator[Snapshot]:
        """A transaction whose statements see one and the same state, which has what a token asks for. Raises _Undone.

        To have been told so is no proof: read models are committed without waiting for the disk, and when Postgres
        crashes, what was told of may be gone for a moment. So whoever asks is shown the rows that go with checkpoints
        that satisfy him, or none.
        """
        async with (
            self._turn(),
            self._database.snapshot(seconds=STATEMENT_SECONDS, planner=planner) as session,
        ):
            if not await _has(session, served, self._reads.standing(needs)):
                raise _Undone
            yield session

    async def _begin(self, projection: str, needs: Needs, until: float) -> int:
        """The position up to which all shards are applied. Whoever wrote something waits until it is behind that."""
        as_of, ahead = await self._applied(projection)
        if as_of < max(needs.values(), default=0):
            await self.see([projection], ahead, until)
            as_of, _ = await self._applied(projection)
        return as_of

    async def _applied(self, projection: str) -> tuple[int, Needs]:
        """Up to where all is applied, and how far each shard has to come for that to be the head of now."""
        return _applied(await self.ask(_APPLIED, projection, self._reads.generation(projection)))

    async def over(
        self,
        projections: Sequence[str],
        statement: Callable[[Mapping[str, int]], Sent],
        *,
        needs: Needs,
        wait: float,
    ) -> list[asyncpg.Record]:
        """The rows of one statement over several read models, which is told their generations, as a token asks.

        Raises NotYetVisible and Unavailable.
        """
        until = self._now() + wait

        async def once() -> list[asyncpg.Record]:
            served = self._served(projections)
            async with self._snapshot(served, needs) as session:
                return await session.fetch(*statement(served))

        async def seen() -> list[asyncpg.Record]:
            await self.see(projections, needs, until)
            served = self._served(projections)
            copied = await self._of_replica(served, needs, lambda session: session.fetch(*statement(served)))
            if copied is not None:
                return copied
            try:
                return await once()
            except asyncpg.UndefinedTableError:
                await self._reads.watch.look(self._reads.channel)
                return await once()

        return await self._proven(until, seen)

    def _served(self, projections: Sequence[str]) -> Mapping[str, int]:
        return {name: self._reads.generation(name) for name in projections}

    async def ask(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """The rows of any statement, in its turn. Raises Unavailable."""
        async with self._turn():
            return await self._database.fetch(statement, *values)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A turn at Postgres, within the time that a list may take in all."""
        try:
            async with asyncio.timeout(LIST_SECONDS), self._turns:
                yield
        except (TimeoutError, TookTooLong):
            raise Problem("unavailable", "The list takes too long. Ask for less at once.") from None


async def _has(session: Snapshot, served: Mapping[str, int], needs: Needs) -> bool:
    """Whether the snapshot has what a token asks for."""
    if not needs:
        return True
    rows = await session.fetch(_STANDS, list(served), list(served.values()))
    stands = {(row["consumer"], row["shard"]): row["position"] for row in rows}
    return all(_position(stands, name, shard) >= needs[shard] for name in served for shard in needs)


def _applied(rows: Sequence[asyncpg.Record]) -> tuple[int, Needs]:
    waiting = [row for row in rows if row["next"] is not None]
    as_of = min([row["next"] - 1 for row in waiting], default=rows[0]["head"] if rows else 0)
    return as_of, {row["shard"]: row["last"] for row in waiting}


async def _page(session: Snapshot, query: Query, generation: int, limit: int) -> tuple[list[bytes], str | None]:
    """The documents of a page, and the cursor behind them."""
    first = await _first(session, query, generation)
    limit -= len(first)
    rows, last = await _rows(session, query, generation, limit + 1)
    shown = [row["document"] for row in [*first, *rows[:limit]]]
    if len(rows) > limit:
        last = Place(rows[limit - 1]["place"], rows[limit - 1]["key"]) if limit else None
        return shown, query.cursor(last)
    return shown, None if last is None else query.cursor(last)


async def _first(session: Snapshot, query: Query, generation: int) -> Sequence[asyncpg.Record]:
    """The row that comes before all others, if there is one."""
    beginning = query.beginning(generation)
    return await session.fetch(*beginning) if beginning else []


async def _rows(session: Snapshot, query: Query, generation: int, size: int) -> _Rows:
    """The rows of a page, one more if there is one: each way to find them is tried only if the cheaper one fails."""
    if not query.filtered:
        return _Rows(await session.fetch(*query.walk(generation, size, None)), None)
    # What is spelled nearly so is in the list only where the words themselves are rare: that has to be known first.
    if query.nearly and (found := await _by_indexes(session, query, generation, size)):
        return found
    found = await _along(session, query, generation, size, FEW)
    if len(found.rows) == size or found.last is None:
        return found
    if query.narrowed and not query.nearly and (exact := await _by_indexes(session, query, generation, size)):
        return exact
    return await _along(session, query, generation, size, STRETCH)


async def _by_indexes(session: Snapshot, query: Query, generation: int, size: int) -> _Rows | None:
    """What the indexes find for the page; None if that is too much to be put in order."""
    await session.plan(BY_INDEXES)
    rows = await session.fetch(*query.candidates(generation, size))
    await session.plan(ALONG_THE_ORDER)
    if rows[0]["found"] > CANDIDATES:
        return None
    return _Rows([row for row in rows if row["key"] is not None], None)


async def _along(session: Snapshot, query: Query, generation: int, size: int, stretch: int) -> _Rows:
    """What the next rows of the order have for the page."""
    end = await session.fetchrow(*query.end_of_stretch(generation, stretch))
    last = None if end is None else Place(end["place"], end["key"])
    return _Rows(await session.fetch(*query.walk(generation, size, last)), last)


def _position(stands: Mapping[tuple[str, int], int], projection: str, shard: int) -> int:
    """Where a read model stands in a shard; one that takes the whole log stands at one place."""
    return stands.get((projection, shard), stands.get((projection, WHOLE), 0))
