"""Ends of sessions and API keys that an account's state names no more: there the log itself is asked.

That is where a row still says that something goes on which ended more than a hundred others ago.
"""

from typing import Final
from uuid import UUID

import sqlalchemy as sa

from domain.accounts import Account
from infra.postgres.pool import Database
from infra.postgres.statements import Statement, inline
from infra.postgres.tables.columns import among
from infra.postgres.tables.log import events

_what: Final = sa.bindparam("what", type_=sa.Text)
_session_ended: Final = among(events.c.type, "account.session_ended", "account.token_reused")
_key_revoked: Final = among(events.c.type, "account.api_key_revoked")
_TOLD: Final = Statement(
    sa.select(events.c.position)
    .where(events.c.stream_id == sa.bindparam("account"))
    .where(events.c.version > sa.bindparam("since"), events.c.version <= sa.bindparam("upto"))
    .where(
        (_session_ended & (events.c.data[inline("session_id")].astext == _what))
        | (_key_revoked & (events.c.data[inline("key_id")].astext == _what))
    )
    .limit(inline(1))
)


async def session_ended(database: Database, account: Account, session_id: UUID, begun_at: int | None) -> bool:
    """Whether a session of the account, begun at that version of it, is among those. For most nothing is asked."""
    return await _is_told(database, account, session_id, begun_at or 0, account.endings.forgotten)


async def key_revoked(database: Database, account: Account, key_id: UUID) -> bool:
    """Whether an API key of the account is among those."""
    return await _is_told(database, account, key_id, 0, account.endings.keys_forgotten)


async def _is_told(database: Database, account: Account, what: UUID, since: int, upto: int) -> bool:
    if since >= upto:
        return False
    return (
        await database.fetchrow(*_TOLD(account=account.account_id, since=since, upto=upto, what=str(what))) is not None
    )
