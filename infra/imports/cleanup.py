"""Clean-up of imports: uploads that nobody ends, files that nobody reads again, rows that nobody asks for."""

from typing import Final

from infra.imports.upload_table import file_of
from infra.postgres.pool import Database
from infra.storage import Storage

ABANDONED_MINUTES: Final = 20
"""Longer than an upload may take."""
DURABLE_MINUTES: Final = 60
"""An end is on every standby by then. One that was lost in a failover makes the rest of the rows due again, for which
the file must be there. And whoever still wrote to the file of an upload that was given up does so no more."""
KEPT_DAYS: Final = 30
AT_ONCE: Final = 100


async def abandon_uploads(database: Database) -> int:
    """Gives up uploads whose process must have died; answers how many.

    Only the row says so, and under its lock: a process that wakes now either has made an import of it, or cannot any
    more. What there may be of the file goes with those of imports that are over.
    """
    done = await database.execute(
        "UPDATE imports SET state = 'abandoned', finished_at = clock_timestamp() WHERE import_id IN ("
        " SELECT import_id FROM imports WHERE state = 'uploading' AND created_at < now() - make_interval(mins => $1)"
        " LIMIT $2 FOR UPDATE SKIP LOCKED)",
        ABANDONED_MINUTES,
        AT_ONCE,
    )
    return int(done.rpartition(" ")[2])


async def discard_files(database: Database, storage: Storage) -> int:
    """Deletes the files of imports that came to their end long enough ago; answers how many."""
    rows = await database.fetch(
        "SELECT import_id, media FROM imports WHERE file_kept AND state IN ('finished', 'failed', 'abandoned')"
        " AND finished_at < now() - make_interval(mins => $1) LIMIT $2",
        DURABLE_MINUTES,
        AT_ONCE,
    )
    for row in rows:
        await storage.delete(file_of(row["import_id"], row["media"]))
        await database.execute("UPDATE imports SET file_kept = false WHERE import_id = $1", row["import_id"])
    return len(rows)


async def forget_old(database: Database) -> int:
    """Deletes the rows of imports that ended :data:`KEPT_DAYS` ago; answers how many."""
    done = await database.execute(
        "DELETE FROM imports WHERE ctid = ANY (ARRAY ("
        " SELECT ctid FROM imports WHERE created_at < now() - make_interval(days => $1)"
        " AND finished_at < now() - make_interval(days => $1) AND NOT file_kept LIMIT $2 FOR UPDATE SKIP LOCKED))",
        KEPT_DAYS,
        AT_ONCE,
    )
    return int(done.rpartition(" ")[2])
