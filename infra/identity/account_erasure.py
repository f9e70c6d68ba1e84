"""Erasure of an account's rows: all that is kept about it beside the log."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from domain.accounts import ACCOUNTS
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.store import snapshots
from infra.postgres.statements import Statement, any_of
from infra.postgres.tables.identity import api_keys, credentials, links, sessions

TABLES: Final = (credentials, sessions, links, api_keys)
"""Each has an ``account_id``. Refresh tokens go with their sessions."""

_FORGET: Final = [Statement(sa.delete(table).where(any_of(table.c.account_id, "accounts"))) for table in TABLES]


async def forget(session: Session, accounts: Sequence[UUID]) -> None:
    """Removes all of it, in the caller's transaction if there is one."""
    for statement in _FORGET:
        await session.execute(*statement(accounts=accounts))
    await snapshots.forget(session, ACCOUNTS.category, [ACCOUNTS.stream_id(account) for account in accounts])
