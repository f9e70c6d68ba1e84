"""The table of one generation of a read model: its statements, made once, and rows in the form that they take."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from infra.cache import Document
from infra.database import Reader
from infra.log import Session
from projections.declaration import Projection, Row
from projections.runtime.consumer import MOVED, Named, Step, fence
from projections.runtime.folding import Kept, Written

R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """Reads and writes rows of a generation."""

    def __init__(self, projection: Projection[R], generation: int) -> None:
        self.name = projection.table(generation)
        self._projection = projection
        aside = projection.aside or "NULL"
        self._load = f"SELECT key, position, document, {aside} FROM {self.name} WHERE key = ANY($1::text[])"  # noqa: S608
        self._documents = f"SELECT key, position, version, document FROM {self.name} WHERE key = ANY($1::text[])"  # noqa: S608
        self._advance = _advance(self.name, projection)
        self._columns = ["key", "position", "version", "document", *(column.name for column in projection.columns)]
        self._arrays = [column.type.endswith("[]") for column in projection.columns]

    async def load(self, session: Reader, keys: Iterable[str]) -> dict[str, Kept]:
        """The rows that are there."""
        rows = await session.fetch(self._load, list(keys))
        return {row[0]: Kept(row[1], self._projection.load(row[2], row[3])) for row in rows}

    async def documents(self, session: Reader, keys: Iterable[str]) -> dict[str, Document]:
        """The rows as they are served."""
        rows = await session.fetch(self._documents, list(keys))
        return {row[0]: Document(row[1], row[2], row[3]) for row in rows}

    async def advance(
        self, session: Session, consumer: Named, steps: Sequence[Step], rows: Mapping[int, Sequence[Written]]
    ) -> set[int]:
        """One statement, one round trip: moves the checkpoints, and writes the rows of those shards that moved.

        The commit does not wait for the disk. After a crash rows and checkpoint are missing together, and the events
        are applied again.
        """
        changed = [(shard, row) for shard, written in rows.items() for row in written]
        puts = [(shard, *row[:4], *self._values(row)) for shard, row in changed if row.document]
        gone = [(shard, row.key) for shard, row in changed if not row.document]
        moved = await session.fetch(
            self._advance,
            *fence(consumer, steps),
            *_transposed(puts, 5 + len(self._arrays)),
            *_transposed(gone, 2),
        )
        return {row[0] for row in moved}

    async def copy(self, session: Session, rows: Iterable[Written]) -> None:
        """Fills an empty table. ``COPY`` in binary, the fastest way in."""
        records = ((*row[:4], *row.columns) for row in rows)
        await session.copy_records_to_table(self.name, records=records, columns=self._columns)

    async def put(self, session: Session, rows: Sequence[Written]) -> None:
        """Writes rows, in the caller's transaction and under the caller's locks."""
        names = ", ".join(self._columns)
        places = ", ".join(f"${n}" for n in range(1, len(self._columns) + 1))
        updates = ", ".join(f"{name} = excluded.{name}" for name in self._columns[1:])
        await session.executemany(
            f"INSERT INTO {self.name} ({names}) VALUES ({places}) ON CONFLICT (key) DO UPDATE SET {updates}",  # noqa: S608
            [(*row[:4], *row.columns) for row in rows if row.document],
        )
        gone = [row.key for row in rows if not row.document]
        await session.execute(f"DELETE FROM {self.name} WHERE key = ANY($1::text[])", gone)  # noqa: S608

    def _values(self, row: Written) -> list[Any]:
        return [_literal(value) if array else value for value, array in zip(row.columns, self._arrays, strict=True)]


def _advance(table: str, projection: Projection[Any]) -> str:
    """The text of the statement. ``unnest`` would take an array of arrays apart, so those travel as literals."""
    columns = projection.columns
    names = ["key", "position", "version", "document", *(column.name for column in columns)]
    types = ["text", "bigint", "integer", "json", *("text" if c.type.endswith("[]") else c.type for c in columns)]
    selected = [f"r.{c.name}::{c.type}" for c in columns]
    first, last = 8, 8 + len(types)
    sources = ", ".join(f"${first + 1 + place}::{type}[]" for place, type in enumerate(types))
    return f"""WITH {MOVED},
put AS (
    INSERT INTO {table} ({", ".join(names)})
    SELECT {", ".join(["r.key, r.position, r.version, r.document", *selected])}
    FROM unnest(${first}::smallint[], {sources}) AS r (shard, {", ".join(names)})
    WHERE r.shard IN (SELECT shard FROM moved)
    ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in names[1:])}),
gone AS (
    DELETE FROM {table} t USING unnest(${last + 1}::smallint[], ${last + 2}::text[]) AS g (shard, key)
    WHERE t.key = g.key AND g.shard IN (SELECT shard FROM moved))
SELECT shard, set_config('synchronous_commit', 'off', true) FROM moved"""  # noqa: S608


def _transposed(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _literal(values: Iterable[str] | None) -> str | None:
    """An array of texts as Postgres writes it."""
    if values is None:
        return None
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
