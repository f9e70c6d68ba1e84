"""The numbers of the log, and of the rows that name an event: each must be of one that the log has."""

from collections.abc import Mapping
from typing import Final

from infra.eventsourcing.event_log import Session
from infra.eventsourcing.verification.finding import MOST_TOLD, Checked

_CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "positions": (
        "SELECT count(*) FROM events",
        """
        SELECT format('position %s comes behind %s', e.position, before)
        FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS before FROM events) e
        WHERE position <> before + 1
        UNION ALL
        SELECT format('positions up to %s were given, and the log ends at %s', h.position, e.last)
        FROM log_head h, (SELECT coalesce(max(position), 0) AS last FROM events) e WHERE h.position > e.last
        """,
    ),
    "versions": (
        "SELECT count(*) FROM (SELECT FROM events GROUP BY stream_id) s",
        """
        SELECT format('stream %s: version %s at position %s is its event number %s', stream_id, version, position, n)
        FROM (
            SELECT stream_id, version, position, row_number() OVER w AS n, lag(position) OVER w AS before
            FROM events WINDOW w AS (PARTITION BY stream_id ORDER BY version)
        ) e WHERE version <> n OR position < before
        """,
    ),
    "shards": (
        "SELECT shards FROM log_head",
        """
        SELECT format('stream %s is in shard %s at position %s, and in %s before; there are %s',
                      stream_id, shard, e.position, before, shards)
        FROM (
            SELECT stream_id, position, shard, lag(shard) OVER w AS before
            FROM events WINDOW w AS (PARTITION BY stream_id ORDER BY version)
        ) e, log_head WHERE shard <> before OR shard NOT BETWEEN 0 AND shards - 1
        """,
    ),
    "idempotency keys": (
        "SELECT count(*) FROM commands",
        """
        SELECT format('a key was answered with position %s, and the log ends at %s', position, log_position())
        FROM commands WHERE position > log_position()
        """,
    ),
    "checkpoints": (
        "SELECT count(*) FROM checkpoints",
        # Position and time together name an event: another one may stand at the same position.
        """
        SELECT format('%s of generation %s, shard %s, is at %s, and the log ends at %s',
                      consumer, generation, shard, position, log_position())
        FROM checkpoints WHERE position > log_position()
        UNION ALL
        SELECT format('%s of generation %s, shard %s, has applied an event at %s that is not in the log',
                      consumer, generation, shard, event_position)
        FROM checkpoints c WHERE event_position IS NOT NULL AND NOT EXISTS (
            SELECT FROM events e WHERE e.position = c.event_position AND e.recorded_at = c.event_recorded_at)
        UNION ALL
        SELECT format('%s has no checkpoint of its generation %s for each shard', p.name, p.live_generation)
        FROM projections p, log_head h WHERE h.shards <> (
            SELECT count(*) FROM checkpoints c WHERE c.consumer = p.name AND c.generation = p.live_generation)
        """,
    ),
    "snapshots": (
        "SELECT count(*) FROM snapshots WHERE code <> 'gone'",
        # Of an erased stream the row stays, empty: see `forget` in snapshots.py.
        """
        SELECT format('the snapshot of stream %s at version %s is not of the event that stands there',
                      stream_id, version)
        FROM snapshots s WHERE code <> 'gone' AND NOT EXISTS (
            SELECT FROM events e WHERE e.stream_id = s.stream_id AND e.version = s.version
                AND e.position = s.position AND microseconds(e.recorded_at) = s.recorded)
        """,
    ),
    "processes": (
        "SELECT count(*) FROM processes",
        """
        SELECT format('%s of stream %s has seen version %s, which the log does not have', process, stream_id, version)
        FROM processes p WHERE NOT EXISTS (
            SELECT FROM events e WHERE e.stream_id = p.stream_id AND e.version = p.version)
        """,
    ),
    "outboxes": (
        "SELECT (SELECT count(*) FROM mail_ledger) + (SELECT count(*) FROM refund_ledger)"
        " + (SELECT count(*) FROM webhook_deliveries)",
        """
        SELECT format('%s is owed something for position %s, and the log ends at %s', who, position, log_position())
        FROM (
            SELECT 'a recipient of mail', position FROM mail_ledger
            UNION ALL SELECT 'a payer', position FROM refund_ledger
            UNION ALL SELECT 'a subscriber', position FROM webhook_deliveries
        ) o (who, position) WHERE position > log_position()
        """,
    ),
}
"""By the name of what they look at: how much of it there is, and a line for each fault."""


async def verify_numbers(session: Session) -> list[Checked]:
    """All of them."""
    found = []
    for name, (count, faults) in _CHECKS.items():
        rows = await session.fetch(f"{faults} LIMIT {MOST_TOLD}")
        found.append(Checked(name=name, looked_at=await session.fetchval(count), faults=[row[0] for row in rows]))
    return found
