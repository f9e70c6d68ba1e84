"""Outcomes that were kept for clients who repeat themselves: for a day, and then no longer."""

from typing import Final

from infra.database import Database

KEPT_HOURS: Final = 24
AT_ONCE: Final = 2_000
"""Rows that are deleted by one statement, which is over in some ten milliseconds."""
MOST_AT_ONCE: Final = 100
"""Statements of one sweep; so it deletes more in a minute than can have been written in it."""


async def forget_old(database: Database, *, at_once: int = AT_ONCE, most: int = MOST_AT_ONCE) -> int:
    """Deletes outcomes that are older than :data:`KEPT_HOURS`, at most ``most`` times ``at_once``; answers how many.

    Of two workers at once each passes over what the other is deleting.
    """
    forgotten = 0
    for _ in range(most):
        done = await database.execute(
            "DELETE FROM commands WHERE ctid = ANY (ARRAY ("
            " SELECT ctid FROM commands WHERE recorded_at < now() - make_interval(hours => $1)"
            " LIMIT $2 FOR UPDATE SKIP LOCKED))",
            KEPT_HOURS,
            at_once,
        )
        count = int(done.rpartition(" ")[2])
        forgotten += count
        if count < at_once:
            break
    return forgotten
