"""Clean-up of imports: uploads that nobody ends, files that nobody reads again, rows that nobody asks for."""

from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from infra.imports.upload_table import file_of
from infra.postgres.pool import Database
from infra.postgres.retention import Retention, forget
from infra.postgres.statements import CLOCK, NOW, Statement, inline
from infra.postgres.tables.columns import among
from infra.postgres.tables.outboxes import imports
from infra.storage import Storage

ABANDONED_MINUTES: Final = 20
"""Longer than an upload may take."""
DURABLE_MINUTES: Final = 60
"""An end is on every standby by then. One that was lost in a failover makes the rest of the rows due again, for which
the file must be there. And whoever still wrote to the file of an upload that was given up does so no more."""
KEPT_DAYS: Final = 30
AT_ONCE: Final = 100

_import: Final = imports.c
_abandoned: Final = (
    sa.select(_import.import_id)
    .where(_import.state == inline("uploading"), _import.created_at < NOW - timedelta(minutes=ABANDONED_MINUTES))
    .limit(inline(AT_ONCE))
    .with_for_update(skip_locked=True)
)
_ABANDON: Final = Statement(
    sa.update(imports).values(state="abandoned", finished_at=CLOCK).where(_import.import_id.in_(_abandoned))
)
_DISCARDABLE: Final = Statement(
    sa.select(_import.import_id, _import.media)
    .where(_import.file_kept, among(_import.state, "finished", "failed", "abandoned"))
    .where(_import.finished_at < NOW - timedelta(minutes=DURABLE_MINUTES))
    .limit(inline(AT_ONCE))
)
_DISCARDED: Final = Statement(
    sa.update(imports).values(file_kept=False).where(_import.import_id == sa.bindparam("import_id"))
)
OLD: Final = Retention(
    table=imports,
    since=_import.created_at,
    over=sa.and_(_import.finished_at < NOW - timedelta(days=KEPT_DAYS), ~_import.file_kept),
)
"""What has come to its end, and has no file any more. Few take long, so that its beginning finds it."""


async def abandon_uploads(database: Database) -> int:
    """Gives up uploads whose process must have died; answers how many.

    Only the row says so, and under its lock: a process that wakes now either has made an import of it, or cannot any
    more. What there may be of the file goes with those of imports that are over.
    """
    done = await database.execute(*_ABANDON())
    return int(done.rpartition(" ")[2])


async def discard_files(database: Database, storage: Storage) -> int:
    """Deletes the files of imports that came to their end long enough ago; answers how many."""
    rows = await database.fetch(*_DISCARDABLE())
    for row in rows:
        await storage.delete(file_of(row["import_id"], row["media"]))
        await database.execute(*_DISCARDED(import_id=row["import_id"]))
    return len(rows)


async def forget_old(database: Database) -> int:
    """Deletes the rows of imports that ended :data:`KEPT_DAYS` ago; answers how many."""
    return await forget(database, OLD, timedelta(days=KEPT_DAYS))
