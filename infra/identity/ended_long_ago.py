"""Ends of sessions and API keys that an account's state names no more: there the log itself is asked.

That is where a row still says that something goes on which ended more than a hundred others ago.
"""

from typing import Final
from uuid import UUID

from domain.accounts import Account
from infra.postgres.pool import Database

_TOLD: Final = """
SELECT FROM events
WHERE stream_id = $1 AND version > $2 AND version <= $3 AND (
    type IN ('account.session_ended', 'account.token_reused') AND data ->> 'session_id' = $4
    OR type = 'account.api_key_revoked' AND data ->> 'key_id' = $4)
LIMIT 1
"""


async def session_ended(database: Database, account: Account, session_id: UUID, begun_at: int | None) -> bool:
    """Whether a session of the account, begun at that version of it, is among those. For most nothing is asked."""
    return await _is_told(database, account, session_id, begun_at or 0, account.endings.forgotten)


async def key_revoked(database: Database, account: Account, key_id: UUID) -> bool:
    """Whether an API key of the account is among those."""
    return await _is_told(database, account, key_id, 0, account.endings.keys_forgotten)


async def _is_told(database: Database, account: Account, what: UUID, since: int, upto: int) -> bool:
    if since >= upto:
        return False
    return await database.fetchrow(_TOLD, account.account_id, since, upto, str(what)) is not None
