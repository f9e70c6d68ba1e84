"""Processes and their timers as rows, and the one clock that counts: Postgres's.

A timer is claimed, rings, and is gone when the process's state has none of its kind any more. Jobs only say at which
timer to look; one that comes early, late, twice or not at all changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from infra.database import Database
from infra.log import Session

LONGEST_WAIT: Final = 3600.0
LONGEST_ERROR: Final = 2000


class TimerId(NamedTuple):
    """Which timer."""

    process: str
    stream_id: UUID
    kind: str


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


class Soon(NamedTuple):
    """A timer to look at: in how many seconds (0: at once), in which second of the epoch, after how many attempts."""

    timer: TimerId
    seconds: float
    second: int
    attempts: int


async def held(session: Session, process: str, streams: Sequence[UUID]) -> dict[UUID, Held]:
    """The rows of the streams, locked until the transaction ends, in one order for all."""
    rows = await session.fetch(
        "SELECT stream_id, version, state FROM processes WHERE process = $1 AND stream_id = ANY ($2)"
        " ORDER BY stream_id FOR UPDATE",
        process,
        streams,
    )
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


async def claim(session: Session, timer: TimerId, *, lease_seconds: float) -> datetime | None:
    """Takes a timer whose moment has come for so long; answers the time, or None if it is not due or not there."""
    row = await session.fetchrow(
        "UPDATE timers SET attempts = attempts + 1, wake_at = clock_timestamp() + make_interval(secs => $4)"
        " WHERE process = $1 AND stream_id = $2 AND kind = $3 AND wake_at <= clock_timestamp()"
        " RETURNING clock_timestamp() AS now",
        *timer,
        lease_seconds,
    )
    return row["now"] if row else None


async def put_off(database: Database, timer: TimerId, error: str) -> None:
    """Looks at the timer again later: after 2 seconds, 6, 18, … an hour, for ever: it is due, whatever is in its way.

    A part of the wait is random, so that what failed together does not come back together.
    """
    await database.execute(
        "UPDATE timers SET attempts = attempts + 1, last_error = $4, wake_at = clock_timestamp() + make_interval("
        " secs => least(2 * power(3, least(attempts, 10)), $5) * (0.5 + random() / 2))"
        " WHERE process = $1 AND stream_id = $2 AND kind = $3",
        *timer,
        error.replace("\0", "\\0")[:LONGEST_ERROR],
        LONGEST_WAIT,
    )


async def soon(database: Database, seconds: float, limit: int) -> list[Soon]:
    """The timers whose moment has come or comes within so many seconds, the longest overdue first."""
    rows = await database.fetch(
        "SELECT process, stream_id, kind,"
        " greatest(extract(epoch FROM wake_at - clock_timestamp()), 0)::double precision AS seconds,"
        " floor(extract(epoch FROM wake_at))::bigint AS second, attempts"
        " FROM timers WHERE wake_at <= clock_timestamp() + make_interval(secs => $1) ORDER BY wake_at LIMIT $2",
        seconds,
        limit,
    )
    return [Soon(TimerId(*row[:3]), *row[3:]) for row in rows]
