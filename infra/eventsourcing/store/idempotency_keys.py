"""Outcomes that were kept for clients who repeat themselves: for a day, and then no longer."""

from datetime import datetime
from typing import Final

from infra.postgres.pool import Database

KEPT_HOURS: Final = 24
AT_ONCE: Final = 5_000
"""Rows that are deleted by one statement, which is over in some tens of milliseconds."""
MOST_AT_ONCE: Final = 240
"""Statements of one sweep. There is one a minute: it deletes 1,200,000 rows, four times what an import can write."""

# The oldest first, along the index, and each statement from where the last one ended: what that has deleted stands in
# the index until a vacuum, and would be walked over again.
FORGET: Final = """
WITH old AS (
    SELECT ctid, recorded_at FROM commands
    WHERE recorded_at >= $1 AND recorded_at < now() - make_interval(hours => $2)
    ORDER BY recorded_at LIMIT $3 FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM commands WHERE ctid = ANY (ARRAY (SELECT ctid FROM old)))
SELECT count(*) AS forgotten, max(recorded_at) AS newest FROM old
"""
LONG_AGO: Final = datetime.fromisoformat("2000-01-01T00:00:00Z")


async def forget_old(database: Database, *, at_once: int = AT_ONCE, most: int = MOST_AT_ONCE) -> int:
    """Deletes outcomes that are older than :data:`KEPT_HOURS`, at most ``most`` times ``at_once``; answers how many.

    Of two workers at once each passes over what the other is deleting.
    """
    forgotten, since = 0, LONG_AGO
    for _ in range(most):
        done = await database.returning_row(FORGET, since, KEPT_HOURS, at_once)
        if done is None or done["forgotten"] == 0:
            break
        forgotten += done["forgotten"]
        if done["forgotten"] < at_once:
            break
        since = done["newest"]
    return forgotten
