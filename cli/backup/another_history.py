"""What a restored copy is told before anybody works on it: that it is another history, and nobody is at work on it."""

from typing import Final

from infra.eventsourcing.event_log import Session
from infra.postgres.pool import Connection

HELD: Final = "held back at a restore: it may have been sent already"

_BEGUN: Final = """
UPDATE log_head SET history = gen_random_uuid();
DELETE FROM workers;
UPDATE leases SET owner = NULL, expires_at = '-infinity';
UPDATE checkpoints SET owner = NULL;
"""
"""Owners are told apart by their ids, so that one that is still alive, and was at work on what is gone, is fenced."""

_ENDED: Final = """
DELETE FROM refresh_tokens;
UPDATE sessions SET ended_at = now() WHERE ended_at IS NULL AND expires_at > now();
UPDATE links SET used_at = now() WHERE used_at IS NULL AND expires_at > now() AND purpose = 'reset-password';
"""
"""Who had signed out since then, or had a session ended, would be signed in again."""

_HOLD: Final = """
UPDATE mail_ledger SET state = 'failed', last_error = $1, leased_until = NULL
WHERE state IN ('due', 'sending', 'unknown')
"""
_OPENED: Final = "INSERT INTO alembic_version VALUES ($1)"
_CLOSED: Final = "DELETE FROM alembic_version"


async def begin(session: Connection, *, keep_sessions: bool, hold_mail: bool) -> int:
    """Marks the copy, in one transaction; answers how many mails are held back."""
    async with session.transaction():
        await session.execute(_BEGUN)
        if not keep_sessions:
            await session.execute(_ENDED)
        if not hold_mail:
            return 0
        return int((await session.execute(_HOLD, HELD)).rpartition(" ")[2])


async def open_to_processes(session: Session, revision: str) -> None:
    """From now on a process takes it for a database of Weir: before it says its revision, each refuses it."""
    await session.execute(_OPENED, revision)


async def close_to_processes(session: Session) -> None:
    """No process takes it for a database of Weir any more."""
    await session.execute(_CLOSED)
