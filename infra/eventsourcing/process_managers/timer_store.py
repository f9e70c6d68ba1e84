"""Processes and their timers as rows, and the one clock that counts: Postgres's.

A timer is claimed, rings, and is gone when the process's state has none of its kind any more. ``due_at`` is its moment;
``wake_at``, when to look at it next, is the due time of :mod:`infra.postgres.due_work`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from asyncpg import Record

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.leases.checkpoints import GUARDED
from infra.observability.origin import Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database
from infra.postgres.tables.consumers import timers

WORK: Final = DueWork(
    table=timers,
    answers=(*timers.primary_key, timers.c.attempts),
    due="wake_at",
    moment="due_at",
    lease_seconds=30.0,
    backoff=Backoff(longest=3600.0),
)
"""A timer is never given up: it is due, whatever is in its way."""


class TimerId(NamedTuple):
    """Which timer."""

    process: str
    stream_id: UUID
    kind: str

    def cause(self, correlation: str | None) -> Cause:
        """What it leads to comes of it, and of the request that its process began with."""
        return Cause(correlation=correlation, causation=f"timer:{self.process}:{self.kind}")


class Held(NamedTuple):
    """A process's row: the last version of the stream that it has seen, and its state as JSON."""

    version: int
    state: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A row to be written, with the timers that run from now on."""

    stream_id: UUID
    version: int
    state: bytes
    timers: Mapping[str, datetime]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A timer whose moment has come, and that is this worker's until its lease ends. ``attempts`` is the fence."""

    timer: TimerId
    attempts: int

    @property
    def lease(self) -> Lease:
        return Lease(tuple(self.timer), self.attempts)

    @property
    def cause(self) -> Cause:
        """The request that the process began with is in its state, which nobody has read yet."""
        return self.timer.cause(None)


_HELD: Final = f"""
WITH bounded AS MATERIALIZED (SELECT {GUARDED})
SELECT p.stream_id, p.version, p.state FROM bounded, processes p
WHERE p.process = $1 AND p.stream_id = ANY ($2) ORDER BY p.stream_id FOR UPDATE OF p"""  # noqa: S608
"""Whoever holds a row and stands still is ended by the server: its owner may be paused, and others wait for the row."""

_FREE: Final = f"{_HELD} SKIP LOCKED"
_THERE: Final = "SELECT stream_id FROM processes WHERE process = $1 AND stream_id = ANY ($2)"


async def held(session: Session, process: str, streams: Sequence[UUID]) -> dict[UUID, Held]:
    """The rows of the streams, locked until the transaction ends, in one order for all."""
    return _rows(await session.fetch(_HELD, process, streams))


async def held_unless_busy(
    session: Session, process: str, streams: Sequence[UUID]
) -> tuple[dict[UUID, Held], frozenset[UUID]]:
    """The same of those that nobody else holds, and the streams whose rows somebody does: nobody is waited for."""
    free = _rows(await session.fetch(_FREE, process, streams))
    others = [stream for stream in streams if stream not in free]
    rows = await session.fetch(_THERE, process, others) if others else []
    return free, frozenset(UUID(bytes=row["stream_id"].bytes) for row in rows)


def _rows(rows: Sequence[Record]) -> dict[UUID, Held]:
    return {UUID(bytes=row["stream_id"].bytes): Held(row["version"], row["state"]) for row in rows}


async def keep(session: Session, process: str, rows: Sequence[Kept]) -> None:
    """Writes rows and their timers, in the caller's transaction, which holds the rows that were there.

    A timer that runs on is left as it is: somebody may be at it.
    """
    rows = sorted(rows, key=lambda row: row.stream_id)
    await session.execute(
        "INSERT INTO processes SELECT $1, * FROM unnest($2::uuid[], $3::integer[], $4::jsonb[])"
        " ON CONFLICT (process, stream_id) DO UPDATE SET version = excluded.version, state = excluded.state",
        process,
        [row.stream_id for row in rows],
        [row.version for row in rows],
        [row.state for row in rows],
    )
    running = [(row.stream_id, kind, due_at) for row in rows for kind, due_at in row.timers.items()]
    columns = [list(column) for column in zip(*running, strict=True)] if running else [[], [], []]
    await session.execute(
        "DELETE FROM timers t WHERE process = $1 AND stream_id = ANY ($2) AND NOT EXISTS"
        " (SELECT FROM unnest($3::uuid[], $4::text[]) AS r (stream_id, kind)"
        "  WHERE r.stream_id = t.stream_id AND r.kind = t.kind)",
        process,
        [row.stream_id for row in rows],
        *columns[:2],
    )
    if running:
        await session.execute(
            "INSERT INTO timers (process, stream_id, kind, due_at, wake_at)"
            " SELECT $1, stream_id, kind, due_at, due_at"
            " FROM unnest($2::uuid[], $3::text[], $4::timestamptz[]) AS r (stream_id, kind, due_at)"
            " ON CONFLICT DO NOTHING",
            process,
            *columns,
        )


async def claim(database: Database, limit: int, *, only: sa.ColumnElement[bool] | None = None) -> list[Claimed]:
    """Takes timers whose moment has come, at most so many."""
    rows = await WORK.claim(database, limit, only=only)
    return [Claimed(timer=TimerId(*row[:3]), attempts=row["attempts"]) for row in rows]


async def confirm(session: Session, claimed: Claimed) -> datetime | None:
    """The time, where the timer still runs and is still this claim's; its row is locked until the transaction ends.

    None where it was stopped, or another worker has claimed it since.
    """
    row = await session.fetchrow(
        "SELECT clock_timestamp() AS now FROM timers"
        " WHERE process = $1 AND stream_id = $2 AND kind = $3 AND attempts = $4 FOR UPDATE",
        *claimed.timer,
        claimed.attempts,
    )
    return row["now"] if row else None
