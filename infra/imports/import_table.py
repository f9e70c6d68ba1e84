"""The table of imports: claimed for a turn, moved on by checkpoints, brought to its end.

Everything but the claim is written under the claim's epoch, and answers False where somebody else has claimed the
import since: then whoever asked must let go of it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from infra.concurrency.backoff import Backoff
from infra.imports.upload_table import Media
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database

WORK: Final = DueWork(
    table="imports",
    key=("import_id",),
    open="state IN ('waiting', 'running')",
    answers="import_id, account_id, media, correlation, epoch, attempts, total - done - failed - skipped AS left, line,"
    ' "offset", jsonb_array_length(errors) AS told, session_id, api_key_id, account_version',
    due="wake_at",
    fence="epoch",
    claiming="state = 'running', attempts = attempts + 1, started_at = coalesce(started_at, clock_timestamp())",
    lease_seconds=10.0,
    backoff=Backoff(longest=600.0),
)


class Claimed(NamedTuple):
    """An import that is this worker's for a turn. ``line`` and ``offset`` are where its next record begins.

    ``left`` are the rows behind that, None until the file has been looked through; ``told`` the faults that it has told
    already; ``attempts`` the claims since its last checkpoint, this included. It was begun in the session or with the
    API key, which were good at ``account_version``; an import of a release before this one names neither.
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
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    account_version: int = 0

    @property
    def lease(self) -> Lease:
        return Lease((self.import_id,), self.epoch)


class Checkpoint(NamedTuple):
    """What has become of the records since the last one, and where the next begins."""

    since: int
    line: int
    offset: int
    done: int
    failed: int
    skipped: int = 0
    errors: Sequence[dict[str, Any]] = ()


async def claim(database: Database, limit: int, *, only: str = "true") -> list[Claimed]:
    """Takes imports that are nobody's and are to be looked at, at most so many."""
    rows = await WORK.claim(database, limit, only=only)
    return [Claimed(UUID(bytes=row[0].bytes), UUID(bytes=row[1].bytes), *row[2:]) for row in rows]


async def count(database: Database, mine: Claimed, total: int) -> bool:
    """Its file has so many rows."""
    return await WORK.write(database, mine, "total = $1", total)


async def advance(database: Database, mine: Claimed, to: Checkpoint) -> bool:
    """Moves it on, from the record where the last checkpoint ended and from nowhere else."""
    return await WORK.write(
        database,
        mine,
        'line = $2, "offset" = $3, done = done + $4, failed = failed + $5, skipped = skipped + $6,'
        " attempts = 0, last_error = NULL, errors = CASE WHEN $7::jsonb IS NULL THEN errors ELSE errors || $7 END",
        to.since,
        to.line,
        to.offset,
        to.done,
        to.failed,
        to.skipped,
        orjson.dumps(to.errors) if to.errors else None,
        condition='"offset" = $1',
    )


async def conclude(database: Database, mine: Claimed) -> bool:
    """All its records have been read and became what they could."""
    return await WORK.settle(database, mine, "state = 'finished', finished_at = clock_timestamp()")


async def give_up(
    database: Database,
    mine: Claimed,
    errors: Sequence[dict[str, Any]],
    *,
    done: int = 0,
    failed: int = 0,
    skipped: int = 0,
) -> bool:
    """Nothing more will come of it, for a reason that is in the file or about it as a whole, the last of the errors.

    ``done``, ``failed`` and ``skipped`` are what has become of rows since the last checkpoint.
    """
    ended = (
        "state = 'failed', finished_at = clock_timestamp(), errors = errors || $1::jsonb, done = done + $2,"
        " failed = failed + $3, skipped = skipped + $4"
    )
    return await WORK.settle(database, mine, ended, orjson.dumps(errors), done, failed, skipped)
