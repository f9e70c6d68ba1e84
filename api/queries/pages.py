"""Lists of documents: filtered and sorted by columns of the read model, and joined from stored bytes, parsing none."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
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
    """An order of rows, ties broken by key. ``read`` makes the column's value of its text in a cursor."""

    column: str
    descending: bool = False
    read: Callable[[str], Any] = str
    write: Callable[[Any], str] = str


@dataclass
class Query:
    """A list to be asked for: conditions on columns, and their values."""

    projection: str
    sort: Sort
    list_id: bytes
    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def where(self, condition: str, value: Any) -> None:
        """Adds a condition, in which ``{}`` stands for the value, unless there is no value."""
        if value is not None:
            self.values.append(value)
            self.conditions.append(condition.format(f"${len(self.values)}"))

    def after(self, cursor: str | None) -> None:
        """Goes on behind the cursor. Raises :class:`~api.errors.Problem` ``invalid`` for a false one."""
        if cursor is None:
            return
        value, key = read_cursor(self.list_id, cursor, (str, str))
        self.values += [self.sort.read(value), key]
        sign, last = "<" if self.sort.descending else ">", len(self.values)
        self.conditions.append(f"({self.sort.column}, key) {sign} (${last - 1}, ${last})")

    def sql(self, generation: int) -> str:
        """The statement; its last value is the number of rows."""
        where = f"WHERE {' AND '.join(self.conditions)} " if self.conditions else ""
        direction = " DESC" if self.sort.descending else ""
        return (
            f"SELECT document, {self.sort.column}, key FROM rm_{self.projection}_{generation} {where}"  # noqa: S608
            f"ORDER BY {self.sort.column}{direction}, key{direction} LIMIT ${len(self.values) + 1}"
        )


class Pages:
    """Answers lists from Postgres, ``at_once`` at a time."""

    def __init__(self, database: Database, reads: Reads, *, at_once: int) -> None:
        self._database = database
        self._reads = reads
        self._turns = asyncio.Semaphore(at_once)

    async def fetch(self, query: Query, limit: int, needs: Needs, wait: float) -> list[asyncpg.Record]:
        """The rows of a page and one more if there is one. Raises NotYetVisible and Unavailable."""
        await self._reads.see(query.projection, needs, wait)
        try:
            return await self._rows(query, limit)
        except asyncpg.UndefinedTableError:
            await self._reads.watch.look(self._reads.channel)
            return await self._rows(query, limit)

    async def _rows(self, query: Query, limit: int) -> list[asyncpg.Record]:
        statement = query.sql(self._reads.generation(query.projection))
        return await self.ask(statement, *query.values, limit + 1)

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
        last = shown[-1]
        cursor = cursors.encode(query.list_id, [query.sort.write(last[1]), last[2]])
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
