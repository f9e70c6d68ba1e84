"""Lists of documents: filtered and sorted by columns of the read model, and joined from stored bytes, parsing none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

import asyncpg
from fastapi import Request
from pydantic import BaseModel, Field

from api.answers import JSON, Answer, Headers
from api.errors import Problem
from api.queries import cursors
from api.schemas import Params
from infra.cache import Reads
from infra.consistency import Needs
from infra.database import Database
from infra.errors import Unavailable

T = TypeVar("T")

LIST_SECONDS: Final = 2.0

_APPLIED: Final = """
SELECT h.head, c.shard, n.next, n.last FROM log_position() AS h (head), checkpoints c, LATERAL (
    SELECT min(e.position) AS next, max(e.position) AS last FROM events e
    WHERE e.shard = c.shard AND e.position > c.position) n
WHERE c.consumer = $1 AND c.generation = $2"""
"""Of each shard the first and the last event that its consumer has not applied yet."""


class Page(BaseModel, Generic[T]):
    """Some items of a list. ``next`` is the cursor of those that follow, null at the end."""

    items: list[T]
    next: str | None


class PageParams(Params):
    """What every list takes."""

    limit: int = Field(20, ge=1, le=100)
    cursor: Annotated[str, Field(max_length=cursors.LONGEST)] | None = Field(
        None, description="`next` of the page before, with the same filters and sort"
    )


@dataclass(frozen=True, kw_only=True)
class Sort:
    """An order of rows, ties broken by key. ``read`` makes the column's value of its text in a cursor.

    ``moves``: the column changes during a row's life. Its SQL type, and the row's former places in this order are in
    ``_places``, so that a list goes on as it was begun.
    """

    column: str
    descending: bool = False
    read: Callable[[str], Any] = str
    write: Callable[[Any], str] = str
    moves: str | None = None


@dataclass
class Query:
    """A list to be asked for: conditions on columns, and their values.

    ``as_of`` is the position of the log at which a list was begun whose rows can move.
    """

    projection: str
    sort: Sort
    list_id: bytes
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    as_of: int | None = None
    _behind: str | None = None

    def where(self, condition: str, *values: Any) -> None:
        """Adds a condition, in which ``{}`` stands for a value, unless a value is None: that filter was not used."""
        if None not in values:
            self.conditions.append(condition.format(*map(self._value, values)))

    def after(self, cursor: str | None) -> None:
        """Goes on behind the cursor. Raises :class:`~api.errors.Problem` ``invalid`` for a false one."""
        if cursor is None:
            return
        if self.sort.moves is None:
            value, key = read_cursor(self.list_id, cursor, (str, str))
        else:
            self.as_of, value, key = read_cursor(self.list_id, cursor, (int, str, str))
        sign = "<" if self.sort.descending else ">"
        self._behind = f"(place, key) {sign} ({self._value(self.sort.read(value))}, {self._value(key)})"

    def cursor(self, place: Any, key: str) -> str:
        """The cursor behind a row."""
        began = [] if self.as_of is None else [self.as_of]
        return cursors.encode(self.list_id, [*began, self.sort.write(place), key])

    def sql(self, generation: int, limit: int) -> tuple[str, list[Any]]:
        """The statement and its values: rows of document, place and key."""
        table, count = f"rm_{self.projection}_{generation}", len(self.values)
        size, as_of = f"${count + 1}", f"${count + 2}"
        if self.sort.moves is None:
            return self._rows(table, self.sort.column, self.conditions, size), [*self.values, limit]
        return self._standing_or_moved(table, size, as_of), [*self.values, limit, self.as_of]

    def _standing_or_moved(self, table: str, size: str, as_of: str) -> str:
        """The rows that have not changed since the list was begun, by the index; those that have, where they stood."""
        column = self.sort.column
        former = (
            f"coalesce((jsonb_path_query_first(_places, '$.{column}[*] ? (@.until > $as_of).at', "
            f"jsonb_build_object('as_of', {as_of}::bigint)) #>> '{{}}')::{self.sort.moves}, {column})"
        )
        standing = self._rows(table, column, [*self.conditions, f"position <= {as_of}"], size)
        moved = self._rows(table, former, [*self.conditions, f"position > {as_of}"], size)
        return f"SELECT document, place, key FROM (({standing}) UNION ALL ({moved})) AS page {self._order(size)}"  # noqa: S608

    def _rows(self, table: str, place: str, conditions: Sequence[str], size: str) -> str:
        inner = f"SELECT document, {place} AS place, key FROM {table}"  # noqa: S608
        if conditions:
            inner += f" WHERE {' AND '.join(conditions)}"
        behind = f"WHERE {self._behind} " if self._behind else ""
        return f"SELECT document, place, key FROM ({inner}) AS rows {behind}{self._order(size)}"  # noqa: S608

    def _order(self, size: str) -> str:
        direction = " DESC" if self.sort.descending else ""
        return f"ORDER BY place{direction}, key{direction} LIMIT {size}"

    def _value(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


class Pages:
    """Answers lists from Postgres, ``at_once`` at a time."""

    def __init__(self, database: Database, reads: Reads, *, at_once: int) -> None:
        self._database = database
        self._reads = reads
        self._turns = asyncio.Semaphore(at_once)

    async def see(self, projections: Sequence[str], needs: Needs, wait: float) -> None:
        """Waits until all of these read models show what a token asks for. Raises NotYetVisible."""
        for name in projections:
            await self._reads.see(name, needs, wait)

    async def fetch(self, query: Query, limit: int, needs: Needs, wait: float) -> list[asyncpg.Record]:
        """The rows of a page and one more if there is one. Raises NotYetVisible and Unavailable."""
        await self._reads.see(query.projection, needs, wait)
        if query.sort.moves is not None and query.as_of is None:
            query.as_of = await self._begin(query.projection, needs, wait)
        try:
            return await self._rows(query, limit)
        except asyncpg.UndefinedTableError:
            await self._reads.watch.look(self._reads.channel)
            return await self._rows(query, limit)

    async def _rows(self, query: Query, limit: int) -> list[asyncpg.Record]:
        statement, values = query.sql(self._reads.generation(query.projection), limit + 1)
        return await self.ask(statement, *values)

    async def _begin(self, projection: str, needs: Needs, wait: float) -> int:
        """The position up to which all shards are applied. Whoever wrote something waits until it is behind that."""
        as_of, ahead = await self._applied(projection)
        if as_of < max(needs.values(), default=0):
            await self._reads.see(projection, ahead, wait)
            as_of, _ = await self._applied(projection)
        return as_of

    async def _applied(self, projection: str) -> tuple[int, Needs]:
        """Up to where all is applied, and how far each shard has to come for that to be the head of now."""
        rows = await self.ask(_APPLIED, projection, self._reads.generation(projection))
        waiting = [row for row in rows if row["next"] is not None]
        as_of = min([row["next"] - 1 for row in waiting], default=rows[0]["head"] if rows else 0)
        return as_of, {row["shard"]: row["last"] for row in waiting}

    async def over(
        self, projections: Sequence[str], statement: Callable[[Mapping[str, int]], str], *values: Any
    ) -> list[asyncpg.Record]:
        """The rows of one statement over several read models, which is told their generations."""
        try:
            return await self.ask(statement(self._served(projections)), *values)
        except asyncpg.UndefinedTableError:
            await self._reads.watch.look(self._reads.channel)
            return await self.ask(statement(self._served(projections)), *values)

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
        except TimeoutError as error:
            raise Unavailable("the list takes too long") from error


def read_cursor(list_id: bytes, cursor: str, kinds: tuple[type, ...]) -> list[Any]:
    """The place behind a cursor. Raises :class:`~api.errors.Problem` ``invalid``."""
    try:
        return cursors.decode(list_id, cursor, kinds)
    except cursors.InvalidCursor:
        finding = {"pointer": "/query/cursor", "code": "invalid-cursor", "detail": "This is no cursor of this list."}
        raise Problem("invalid", errors=[finding]) from None


def page_of(query: Query, rows: Sequence[asyncpg.Record], limit: int) -> tuple[list[bytes], str | None]:
    """The documents of a page and the cursor behind them."""
    shown = rows[:limit]
    cursor = None
    if len(rows) > limit:
        cursor = query.cursor(shown[-1][1], shown[-1][2])
    return [row[0] for row in shown], cursor


def page_answer(request: Request, items: Sequence[bytes], cursor: str | None, caching: tuple[bytes, bytes]) -> Answer:
    """``{"items": […], "next": …}`` around documents that are JSON already."""
    headers: Headers = [JSON, caching]
    quoted = b"null"
    if cursor is not None:
        quoted = b'"%b"' % cursor.encode("ascii")
        headers.append((b"link", b'<%b>; rel="next"' % _url_of(request, cursor).encode("ascii")))
    return Answer(200, headers, b'{"items":[%b],"next":%b}' % (b",".join(items), quoted))


def _url_of(request: Request, cursor: str) -> str:
    """This request's target with another cursor."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in ("cursor", "after")]
    return f"{request.scope['path']}?{urlencode([*kept, ('cursor', cursor)])}"
