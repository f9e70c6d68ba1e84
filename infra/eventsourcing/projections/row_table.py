"""The tables of read models: statements for a generation, made once, and rows in the form that they take."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

from infra.eventsourcing.consumers.consumer import MOVED, verdict
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.projections.fold import Kept, Written
from infra.eventsourcing.projections.projection import Projection, Row
from infra.eventsourcing.projections.table_name import with_names
from infra.eventsourcing.read_cache import Document
from infra.postgres.pool import Reader

R = TypeVar("R", bound=Row)

FENCE: Final = 9
"""Parameters that the fence takes."""
_NO_WAIT: Final = "set_config('synchronous_commit', 'off', true)"


_DOCUMENTS: Final = "SELECT key, position, version, document FROM {table} WHERE key = ANY($1::text[])"
_ROWS: Final = "SELECT {columns} FROM {table} WHERE key = ANY($1::text[])"
_PUT: Final = "INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT (key) DO UPDATE SET {updates}"
_REMOVE: Final = "DELETE FROM {table} WHERE key = ANY($1::text[])"
_LOAD: Final = "SELECT {place}, key, position, document, {memo} FROM {table} WHERE key = ANY({keys}::text[])"
_WRITE: Final = """put_{table} AS (
    INSERT INTO {table} ({columns}) SELECT {written}
    FROM unnest({shards}::smallint[], {sources}) AS r (shard, {columns})
    WHERE r.shard IN (SELECT shard FROM moved WHERE consumer = '{consumer}' AND generation = {generation})
    ON CONFLICT (key) DO UPDATE SET {updates}),
gone_{table} AS (
    DELETE FROM {table} t USING unnest({gone_shards}::smallint[], {gone}::text[]) AS g (shard, key)
    WHERE t.key = g.key
      AND g.shard IN (SELECT shard FROM moved WHERE consumer = '{consumer}' AND generation = {generation}))"""
_PARK: Final = (
    "INSERT INTO parked ({columns}) SELECT p.* FROM unnest({sources}) AS p ({columns}) {only} "
    "ON CONFLICT (consumer, generation, stream_id) DO NOTHING"
)


class Loaded(NamedTuple):
    """A row as it was read, and the bytes of its document."""

    kept: Kept
    size: int


class Table(Generic[R]):
    """Reads and writes rows of a generation."""

    def __init__(self, projection: Projection[R], generation: int) -> None:
        self.name = projection.table(generation)
        self.projection = projection
        self.generation = generation
        self.memo = projection.memo or "NULL::jsonb"
        self._documents = with_names(_DOCUMENTS, table=self.name)
        self.columns = ["key", "position", "version", "document", *(column.name for column in projection.columns)]
        types = [column.type for column in projection.columns]
        self._arrays = [type.endswith("[]") for type in types]
        self._types = [
            "text",
            "bigint",
            "integer",
            "json",
            *("text" if type.endswith("[]") else type for type in types),
        ]

    async def documents(self, session: Reader, keys: Iterable[str]) -> dict[str, Document]:
        """The rows as they are served."""
        rows = await session.fetch(self._documents, list(keys))
        return {row[0]: Document(row[1], row[2], row[3]) for row in rows}

    async def copy(self, session: Session, rows: Sequence[Written]) -> None:
        """Fills an empty table."""
        records = [(*row[:4], *row.columns) for row in rows]
        await session.copy_records_to_table(self.name, records=records, columns=self.columns)

    async def rows(self, session: Reader, keys: Iterable[str]) -> list[Written]:
        """The rows with all that is kept of them."""
        statement = with_names(_ROWS, columns=", ".join(self.columns), table=self.name)
        found = await session.fetch(statement, list(keys))
        return [Written(row[0], row[1], row[2], row[3], tuple(row[4:])) for row in found]

    async def put(self, session: Session, rows: Sequence[Written]) -> None:
        """Writes rows, in the caller's transaction and under the caller's locks."""
        names = ", ".join(self.columns)
        places = ", ".join(f"${n}" for n in range(1, len(self.columns) + 1))
        await session.executemany(
            with_names(_PUT, table=self.name, columns=names, places=places, updates=self._updates),
            [(*row[:4], *row.columns) for row in rows if row.document],
        )
        gone = [row.key for row in rows if not row.document]
        await session.execute(with_names(_REMOVE, table=self.name), gone)

    @property
    def _updates(self) -> str:
        return ", ".join(f"{name} = excluded.{name}" for name in self.columns[1:])

    @property
    def width(self) -> int:
        """How many parameters :meth:`writing` takes."""
        return len(self.columns) + 3

    def writing(self, first: int) -> str:
        """The parts of a statement that write and delete the rows of shards that moved; parameters from ``first`` on.

        ``unnest`` would take an array of arrays apart, so those travel as literals.
        """
        columns, last = self.projection.columns, first + len(self.columns)
        sources = [f"${first + 1 + place}::{type}[]" for place, type in enumerate(self._types)]
        written = ["r.key", "r.position", "r.version", "r.document", *(f"r.{c.name}::{c.type}" for c in columns)]
        return with_names(
            _WRITE,
            table=self.name,
            columns=", ".join(self.columns),
            written=", ".join(written),
            shards=f"${first}",
            sources=", ".join(sources),
            updates=self._updates,
            gone_shards=f"${last + 1}",
            gone=f"${last + 2}",
            consumer=self.projection.name,
            generation=self.generation,
        )

    def values(self, changed: Sequence[tuple[int, Written]]) -> list[list[Any]]:
        """Rows, each with its shard, as those parameters."""
        puts = [(shard, *row[:4], *self._literals(row)) for shard, row in changed if row.document]
        gone = [(shard, row.key) for shard, row in changed if not row.document]
        return [*_transposed(puts, 1 + len(self.columns)), *_transposed(gone, 2)]

    def _literals(self, row: Written) -> list[Any]:
        return [_literal(value) if array else value for value, array in zip(row.columns, self._arrays, strict=True)]


async def load(session: Session, wanted: Mapping[Table[Any], Iterable[str]]) -> dict[Table[Any], dict[str, Loaded]]:
    """The rows that are there, of all tables in one round trip."""
    tables = list(wanted)
    statement = " UNION ALL ".join(
        with_names(_LOAD, place=place, memo=table.memo, table=table.name, keys=f"${place + 1}")
        for place, table in enumerate(tables)
    )
    found: dict[Table[Any], dict[str, Loaded]] = {table: {} for table in tables}
    for place, key, position, document, memo in await session.fetch(statement, *(list(wanted[t]) for t in tables)):
        row = tables[place].projection.load(document, memo)
        found[tables[place]][key] = Loaded(Kept(position, row), len(document))
    return found


@lru_cache(maxsize=256)
def commit(tables: tuple[Table[Any], ...], parking: bool) -> str:
    """One statement, one round trip: moves checkpoints, writes the rows of those that moved, and parks streams.

    The commit does not wait for the disk. After a crash rows and checkpoint are missing together, and the events are
    applied again.
    """
    parts, first = [MOVED], FENCE + 1
    for table in tables:
        parts.append(table.writing(first))
        first += table.width
    if parking:
        of_those_that_moved = "JOIN moved USING (consumer, generation, shard)"
        parts.append(f"newly_parked AS ({inserting_parked(first, of_those_that_moved)})")
    return f"WITH {', '.join(parts)} {verdict(_NO_WAIT)}"


def inserting_parked(first: int, only: str = "") -> str:
    """A statement that sets streams aside, unless they are aside already; parameters from ``first`` on."""
    types = ("text", "integer", "smallint", "uuid", "bigint", "text", "text", "boolean")
    sources = ", ".join(f"${first + place}::{type}[]" for place, type in enumerate(types))
    columns = "consumer, generation, shard, stream_id, position, event_type, error, unknown"
    return with_names(_PARK, columns=columns, sources=sources, only=only)


def _transposed(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _literal(values: Iterable[str] | None) -> str | None:
    """An array of texts as Postgres writes it."""
    if values is None:
        return None
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
