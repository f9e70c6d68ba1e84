"""The locks on checkpoints: who moves one never waits for it, and who holds one across statements does so briefly.

A checkpoint's row is its lease and its fence. One that somebody else has locked (a retry of a parked stream, the switch
of generations, an owner that stopped in the middle) is passed over and tried again: the other rows of the same
statement are not held up, and whoever never waits is in no deadlock. The two that do wait, the retry and the switch,
take their rows in the order of their keys.
"""

from typing import Final

from infra.eventsourcing.configs import LOCK_SECONDS
from infra.eventsourcing.event_log import Session

IDLE_SECONDS: Final = 2
"""How long a transaction that holds a checkpoint may stand still. Its owner may be paused, or its machine gone without
a farewell: the server ends it, and the next owner need not wait longer than for the heartbeat."""
FOLD_SECONDS: Final = 8
"""The same where many events may have to be folded between two statements: to the server that is standing still. Less
than two leases, within which another is to be at work."""


def _guarded(idle_seconds: int) -> str:
    return (
        f"set_config('lock_timeout', '{LOCK_SECONDS}s', true), "
        f"set_config('idle_in_transaction_session_timeout', '{idle_seconds}s', true)"
    )


GUARDED: Final = _guarded(IDLE_SECONDS)
"""Bounds for the rest of the transaction, as columns of a query: they cost no round trip, and pass through a pooler."""


def unlocked(source: str, columns: str, condition: str = "true") -> str:
    """A query for ``columns`` of those checkpoints ``c`` which ``source`` ``s`` names and nobody has locked.

    They are locked by it, in order. What it has read of ``c`` may be older than the lock: look at it again to write.
    """
    return (
        f"SELECT {columns} FROM checkpoints c JOIN {source} USING (consumer, generation, shard) WHERE {condition} "  # noqa: S608
        "ORDER BY c.consumer, c.generation, c.shard FOR UPDATE OF c SKIP LOCKED"
    )


def same(other: str) -> str:
    """The condition that checkpoint ``c`` is the one named by ``other``."""
    return f"c.consumer = {other}.consumer AND c.generation = {other}.generation AND c.shard = {other}.shard"


async def guard(session: Session) -> None:
    """Bounds the waits and the pauses of a transaction that has begun, and that folds: it may think for longer."""
    await session.execute(f"SELECT {_guarded(FOLD_SECONDS)}")
