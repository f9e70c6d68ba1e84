"""Reading the log: who it is, how far it has come, and its events in order, from Postgres or from a stream entry."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid5

import asyncpg
import orjson
import structlog
from msgspec import Raw, Struct
from msgspec import field as named
from msgspec.json import Decoder

from domain.kernel.messages import Recorded
from infra.eventsourcing.codec import Decode, EventCodec
from infra.observability.origin import Cause
from infra.postgres.connect import timeline
from infra.postgres.pool import Database, Reader

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection of one's own, or one lent by the pool."""

_log = structlog.get_logger("weir.log")

LAST: Final = 2**63 - 1
"""A position that no log comes to."""

EVENT: Final = (
    "position, stream_id, version, category, shard, type, schema_version, data, metadata, recorded_at FROM events"
)
"""What a statement selects whose rows :meth:`EventLog.recorded` takes."""


class Published(Struct, frozen=True, kw_only=True):
    """A stream entry as the relay writes it. What the event says is left unparsed until somebody wants it."""

    position: int = named(name="p")
    prev: int = named(name="v")
    stream_id: UUID = named(name="s")
    version: int = named(name="n")
    category: str = named(name="c")
    shard: int = named(name="h")
    type: str = named(name="t")
    schema_version: int = named(name="u")
    data: Raw = named(name="d")
    metadata: dict[str, Any] = named(name="m")
    recorded_at: datetime = named(name="r")


_published: Final = Decoder(Published)


class Entry:
    """An event on its way to its consumers, decoded once, by the first that wants it.

    ``prev`` is the position before it in its shard: what tells a reader that it has missed nothing.
    """

    __slots__ = ("_decode", "_decoded", "_source", "position", "prev", "shard", "stream_id", "type")

    def __init__(
        self, source: Any, decode: Decode, position: int, prev: int, shard: int, stream_id: UUID, type: str
    ) -> None:
        self._source = source
        self._decode = decode
        self._decoded: Recorded | None = None
        self.position = position
        self.prev = prev
        self.shard = shard
        self.stream_id = stream_id
        self.type = type

    @property
    def recorded_at(self) -> datetime:
        """When it was appended."""
        source = self._source
        at: datetime = source["recorded_at"] if isinstance(source, asyncpg.Record) else source.recorded_at
        return at

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Where it came from, without a look at what it says."""
        source = self._source
        told: Mapping[str, Any] = orjson.loads(source[8]) if isinstance(source, asyncpg.Record) else source.metadata
        return told

    @property
    def cause(self) -> Cause:
        """Itself, as the origin of what it makes to be done."""
        return Cause.of_event(self.metadata, self.position)

    def recorded(self) -> Recorded:
        """The event itself. Raises what :meth:`.EventCodec.decode` raises, the same again at each call."""
        if self._decoded is None:
            source = self._source
            read = _of_row if isinstance(source, asyncpg.Record) else _of_entry
            self._decoded = read(source, self._decode)
        return self._decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class EventLog:
    """A log: which one it is, into how many shards it is sliced, and how its events are read.

    The first two are fixed when it is created. ``history`` is another where the log was restored, or its server failed
    over: what others keep of it under the old one may tell of events that are gone. ``restored`` is what makes it
    another on the same timeline.
    """

    log_id: UUID
    shards: int
    history: UUID
    restored: UUID | None = None
    codec: EventCodec = field(compare=False, repr=False)

    def on(self, timeline: str) -> "EventLog":
        """The same log on another timeline of its server."""
        return replace(self, history=uuid5(self.log_id, f"{timeline}{self.restored or ''}"))

    def entry(self, body: bytes) -> Entry:
        """The entry that the relay published. Raises ``ValueError``."""
        try:
            found = _published.decode(body)
        except RecursionError as error:
            raise ValueError("the entry is nested too deeply") from error
        return Entry(found, self.codec.decode, found.position, found.prev, found.shard, found.stream_id, found.type)

    def recorded(self, row: asyncpg.Record) -> Recorded:
        """The event in a row that a statement has selected as :data:`EVENT`."""
        return _of_row(row, self.codec.decode)

    async def read_shard(
        self, session: Reader, shard: int, after: int, limit: int, *, last: int = LAST, others: Iterable[str] = ()
    ) -> list[Entry]:
        """The next events of a shard up to ``last``, at most ``limit``, but for ``others`` by their names; fewer mean
        that there are no more.
        """
        statement = (
            f"SELECT {EVENT} WHERE shard = $1 AND position > $2 AND position <= $4 AND type <> ALL ($5::text[]) "
            "ORDER BY position LIMIT $3"
        )
        return self._entries(await session.fetch(statement, shard, after, limit, last, list(others)), after)

    async def read_all(self, session: Reader, after: int, limit: int) -> list[Entry]:
        """The next events of all shards. Their ``prev`` is the position before them in the log, not in their shard."""
        statement = f"SELECT {EVENT} WHERE position > $1 ORDER BY position LIMIT $2"
        return self._entries(await session.fetch(statement, after, limit), after)

    async def read_stream(self, session: Reader, stream_id: UUID, first: int, last: int) -> list[Entry]:
        """A stream's events with positions from ``first`` to ``last``."""
        statement = f"SELECT {EVENT} WHERE stream_id = $1 AND position BETWEEN $2 AND $3 ORDER BY version"
        return self._entries(await session.fetch(statement, stream_id, first, last), 0)

    async def read_streams(self, session: Reader, streams: Sequence[UUID], last: int) -> list[Entry]:
        """The events of some streams with positions up to ``last``, stream by stream."""
        statement = f"SELECT {EVENT} WHERE stream_id = ANY ($1::uuid[]) AND position <= $2 ORDER BY stream_id, version"
        return self._entries(await session.fetch(statement, streams, last), 0)

    async def read_versions(self, session: Reader, stream_id: UUID, after: int, limit: int) -> list[Entry]:
        """A stream's next events behind a version, at most ``limit``; fewer mean that there are no more."""
        statement = f"SELECT {EVENT} WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3"
        return self._entries(await session.fetch(statement, stream_id, after, limit), 0)

    def _entries(self, rows: Iterable[asyncpg.Record], after: int) -> list[Entry]:
        """Entries of consecutive rows, each linked to the one before it."""
        linked, decode = [], self.codec.decode
        for row in rows:
            linked.append(Entry(row, decode, row[0], after, row[4], row[1], row[5]))
            after = row[0]
        return linked


def _of_entry(found: Published, decode: Decode) -> Recorded:
    return Recorded(
        position=found.position,
        stream_id=found.stream_id,
        version=found.version,
        category=found.category,
        shard=found.shard,
        type=found.type,
        schema_version=found.schema_version,
        data=decode(found.type, found.schema_version, memoryview(found.data)),
        metadata=found.metadata,
        recorded_at=found.recorded_at,
    )


def _of_row(row: asyncpg.Record, decode: Decode) -> Recorded:
    return Recorded(
        position=row[0],
        stream_id=row[1],
        version=row[2],
        category=row[3],
        shard=row[4],
        type=row[5],
        schema_version=row[6],
        data=decode(row[5], row[6], row[7]),
        metadata=orjson.loads(row[8]),
        recorded_at=row[9],
    )


async def identify(session: Reader, codec: EventCodec) -> EventLog:
    """Which log this database holds. Raises ``LookupError`` where ``weir migrate`` has never run."""
    row = await session.fetchrow("SELECT log_id, shards, history FROM log_head")
    if row is None:
        raise LookupError("the log has no head")
    return log_of(row, codec).on(await timeline(session))


def log_of(row: asyncpg.Record, codec: EventCodec) -> EventLog:
    """The log of a ``log_head``, on no timeline yet."""
    log_id = UUID(bytes=row["log_id"].bytes)
    restored = UUID(bytes=row["history"].bytes) if row["history"] else None
    return EventLog(log_id=log_id, shards=row["shards"], history=log_id, restored=restored, codec=codec)


async def begin_history(database: Database, log: EventLog) -> None:
    """Gives the log another history, for whoever has found that it does not hold what it held.

    A server that was restored from a copy of its files says so by its timeline only where it was promoted. Of several
    that find it out one does it: another history is no longer the one that they knew.
    """
    await database.execute(
        "UPDATE log_head SET history = gen_random_uuid() WHERE history IS NOT DISTINCT FROM $1", log.restored
    )
    _log.error("the log was put back to an earlier point", history=str(log.history))


async def shard_heads(session: Reader, shards: Sequence[int], upto: int | None = None) -> dict[int, int]:
    """The last position of each shard (0: none), of the whole log or of its part up to a position."""
    rows = await session.fetch(
        "SELECT s AS shard, coalesce((SELECT position FROM events e WHERE e.shard = s AND position <= $2 "
        "ORDER BY position DESC LIMIT 1), 0) AS position FROM unnest($1::smallint[]) AS s",
        shards,
        LAST if upto is None else upto,
    )
    return {row["shard"]: row["position"] for row in rows}


async def recorded_at(session: Reader, positions: Sequence[int]) -> dict[int, datetime]:
    """The times of the events at these positions, as far as there are any."""
    rows = await session.fetch(
        "SELECT position, recorded_at FROM events WHERE position = ANY ($1::bigint[])", positions
    )
    return {row["position"]: row["recorded_at"] for row in rows}


async def log_head(session: Reader) -> int:
    """The last position of the log. Every position up to it is readable."""
    position: int = await session.fetchval("SELECT log_position()")
    return position
