"""Erasure of an account's rows: all that is kept about it beside the log."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from domain.accounts import ACCOUNTS
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.store import snapshots

TABLES: Final = ("credentials", "sessions", "links", "api_keys")
"""Each has an ``account_id``. Refresh tokens go with their sessions."""


async def forget(session: Session, accounts: Sequence[UUID]) -> None:
    """Removes all of it, in the caller's transaction if there is one."""
    for table in TABLES:
        await session.execute(f"DELETE FROM {table} WHERE account_id = ANY ($1)", accounts)  # noqa: S608
    await snapshots.forget(session, ACCOUNTS.category, [ACCOUNTS.stream_id(account) for account in accounts])
