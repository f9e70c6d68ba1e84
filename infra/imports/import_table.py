"""The table of imports: claimed for a turn, moved on by checkpoints, brought to its end.

Everything but the claim is written under the claim's epoch, and answers False where somebody else has claimed the
import since: then whoever asked must let go of it.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from infra.concurrency.backoff import Backoff
from infra.imports.upload_table import Media
from infra.observability.origin import Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK
from infra.postgres.tables.columns import among
from infra.postgres.tables.outboxes import imports

_import: Final = imports.c
_ended: Final = {"finished_at": CLOCK}

WORK: Final = DueWork(
    table=imports,
    open=among(_import.state, "waiting", "running"),
    answers=(
        _import.import_id,
        _import.account_id,
        _import.media,
        _import.correlation,
        _import.epoch,
        _import.attempts,
        (_import.total - _import.done - _import.failed - _import.skipped).label("left"),
        _import.line,
        _import["offset"],
        sa.func.jsonb_array_length(_import.errors).label("told"),
        _import.session_id,
        _import.api_key_id,
        _import.account_version,
    ),
    due="wake_at",
    fence="epoch",
    claiming={
        "state": "running",
        "attempts": _import.attempts + 1,
        "started_at": sa.func.coalesce(_import.started_at, CLOCK),
    },
    lease_seconds=10.0,
    backoff=Backoff(longest=600.0),
)

_counted: Final = {name: imports.c[name] + sa.bindparam(f"more_{name}") for name in ("done", "failed", "skipped")}
_told: Final = sa.bindparam("told", type_=JSONB)
_COUNT: Final = WORK.change({"total": sa.bindparam("total")})
_ADVANCE: Final = WORK.change(
    {
        "line": sa.bindparam("line"),
        "offset": sa.bindparam("offset"),
        **_counted,
        "attempts": 0,
        "last_error": sa.null(),
        "errors": sa.case((_told.is_(None), _import.errors), else_=_import.errors.op("||")(_told)),
    },
    _import["offset"] == sa.bindparam("since"),
)
_CONCLUDE: Final = WORK.settling({"state": "finished", **_ended})
_GIVE_UP: Final = WORK.settling({"state": "failed", **_ended, **_counted, "errors": _import.errors.op("||")(_told)})


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

    @property
    def cause(self) -> Cause:
        return Cause(correlation=self.correlation, causation=f"import:{self.import_id}", account=str(self.account_id))


class Checkpoint(NamedTuple):
    """What has become of the records since the last one, and where the next begins."""

    since: int
    line: int
    offset: int
    done: int
    failed: int
    skipped: int = 0
    errors: Sequence[dict[str, Any]] = ()


async def claim(database: Database, limit: int, *, only: sa.ColumnElement[bool] | None = None) -> list[Claimed]:
    """Takes imports that are nobody's and are to be looked at, at most so many."""
    rows = await WORK.claim(database, limit, only=only)
    return [Claimed(UUID(bytes=row[0].bytes), UUID(bytes=row[1].bytes), *row[2:]) for row in rows]


async def count(database: Database, mine: Claimed, total: int) -> bool:
    """Its file has so many rows."""
    return await WORK.write(database, mine, _COUNT, total=total)


async def advance(database: Database, mine: Claimed, to: Checkpoint) -> bool:
    """Moves it on, from the record where the last checkpoint ended and from nowhere else."""
    return await WORK.write(
        database,
        mine,
        _ADVANCE,
        since=to.since,
        line=to.line,
        offset=to.offset,
        more_done=to.done,
        more_failed=to.failed,
        more_skipped=to.skipped,
        told=orjson.dumps(to.errors) if to.errors else None,
    )


async def conclude(database: Database, mine: Claimed) -> bool:
    """All its records have been read and became what they could."""
    return await WORK.write(database, mine, _CONCLUDE)


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
    told, counted = orjson.dumps(errors), {"more_done": done, "more_failed": failed, "more_skipped": skipped}
    return await WORK.write(database, mine, _GIVE_UP, told=told, **counted)
