"""How far an import is: claimed for a turn, moved on by checkpoints, brought to its end.

Everything but the claim is written under the claim's epoch, and answers False where somebody else has claimed the
import since: then whoever asked must let go of it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from infra.database import Database
from infra.imports.uploads import Media

LONGEST_WAIT: Final = 600.0
LONGEST_ERROR: Final = 2000

_MINE: Final = "WHERE import_id = $1 AND epoch = $2 AND state = 'running'"


class Claimed(NamedTuple):
    """An import that is this worker's for a turn. ``line`` and ``offset`` are where its next record begins.

    ``left`` are the rows behind that, None until the file has been looked through; ``told`` the faults that it has told
    already; ``attempts`` the claims since its last checkpoint, this included.
    """

    import_id: UUID
    account_id: UUID
    media: Media
    correlation: str | None
    epoch: int
    attempts: int
    left: int | None
    line: int
    offset: int
    told: int


class Checkpoint(NamedTuple):
    """What has become of the records since the last one, and where the next begins."""

    since: int
    line: int
    offset: int
    done: int
    failed: int
    errors: Sequence[dict[str, Any]] = ()


async def due(database: Database, limit: int) -> list[tuple[UUID, int]]:
    """Imports that are nobody's and are to be looked at, with their epochs; the longest waiting first."""
    rows = await database.fetch(
        "SELECT import_id, epoch FROM imports WHERE state IN ('waiting', 'running') AND wake_at <= clock_timestamp()"
        " ORDER BY wake_at LIMIT $1",
        limit,
    )
    return [(row["import_id"], row["epoch"]) for row in rows]


async def claim(database: Database, import_id: UUID, *, lease_seconds: float) -> Claimed | None:
    """Takes an import for so long; None if it is somebody's, or is not to be looked at yet, or is not there."""
    row = await database.returning_row(
        "UPDATE imports SET state = 'running', epoch = epoch + 1, attempts = attempts + 1,"
        " started_at = coalesce(started_at, clock_timestamp()),"
        " wake_at = clock_timestamp() + make_interval(secs => $2)"
        " WHERE import_id = $1 AND state IN ('waiting', 'running') AND wake_at <= clock_timestamp()"
        " RETURNING import_id, account_id, media, correlation, epoch, attempts,"
        ' total - done - failed, line, "offset", jsonb_array_length(errors)',
        import_id,
        lease_seconds,
    )
    return Claimed(UUID(bytes=row[0].bytes), UUID(bytes=row[1].bytes), *row[2:]) if row else None


async def renew(database: Database, mine: Claimed, *, lease_seconds: float) -> bool:
    """Keeps it for so long from now on."""
    return await _written(database, mine, "wake_at = clock_timestamp() + make_interval(secs => $3)", lease_seconds)


async def count(database: Database, mine: Claimed, total: int) -> bool:
    """Its file has so many rows."""
    return await _written(database, mine, "total = $3", total)


async def advance(database: Database, mine: Claimed, to: Checkpoint) -> bool:
    """Moves it on, from the record where the last checkpoint ended and from nowhere else."""
    return await _written(
        database,
        mine,
        'line = $4, "offset" = $5, done = done + $6, failed = failed + $7, attempts = 0, last_error = NULL,'
        " errors = CASE WHEN $8::jsonb IS NULL THEN errors ELSE errors || $8 END",
        to.since,
        to.line,
        to.offset,
        to.done,
        to.failed,
        orjson.dumps(to.errors) if to.errors else None,
        condition='AND "offset" = $3',
    )


async def conclude(database: Database, mine: Claimed) -> bool:
    """All its records have been read and became what they could."""
    return await _written(database, mine, "state = 'finished', finished_at = clock_timestamp()")


async def give_up(database: Database, mine: Claimed, error: dict[str, Any]) -> bool:
    """Nothing more will come of it, for a reason that is in the file or about it as a whole."""
    return await _written(
        database,
        mine,
        "state = 'failed', finished_at = clock_timestamp(), errors = errors || $3::jsonb",
        orjson.dumps([error]),
    )


async def release(database: Database, mine: Claimed) -> bool:
    """The turn is over: whoever comes next may go on."""
    return await _written(database, mine, "wake_at = clock_timestamp()")


async def put_off(database: Database, mine: Claimed, error: str) -> bool:
    """Looks at it again later: after 2 seconds, 6, 18, … ten minutes.

    A part of the wait is random, so that what failed together does not come back together.
    """
    return await _written(
        database,
        mine,
        "last_error = $3, wake_at = clock_timestamp() + make_interval("
        "secs => least(2 * power(3, least(attempts - 1, 10)), $4) * (0.5 + random() / 2))",
        error.replace("\0", "\\0")[:LONGEST_ERROR],
        LONGEST_WAIT,
    )


async def _written(database: Database, mine: Claimed, change: str, *values: Any, condition: str = "") -> bool:
    done = await database.execute(
        f"UPDATE imports SET {change} {_MINE} {condition}",  # noqa: S608
        mine.import_id,
        mine.epoch,
        *values,
    )
    return done == "UPDATE 1"
