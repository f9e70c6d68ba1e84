"""API keys as rows: made, listed, revoked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import sqlalchemy as sa
from asyncpg import Record

from infra.eventsourcing.event_log import Session
from infra.identity.account_turns import take_turn
from infra.postgres.pool import Database, Pooled
from infra.postgres.retention import Retention
from infra.postgres.statements import NOW, TIMESTAMPTZ, Statement, any_of, inline
from infra.postgres.tables.identity import api_keys

MOST_KEYS: Final = 20
"""Live keys of one account."""

ACCOUNT_CHANGED: Final = "WE001"
"""What the trigger of the table says where the account is at another version."""


class TooManyApiKeys(Exception):
    """The account has as many live keys as it may have."""


class AccountChanged(Exception):
    """The account is no longer at the version at which it was allowed to make the key. Nothing was stored."""


class ApiKey(NamedTuple):
    """What is shown of a key."""

    key_id: UUID
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewKey(NamedTuple):
    """A key to be made."""

    key_id: UUID
    account_id: UUID
    name: str
    digest: bytes
    scopes: Sequence[str]
    expires_at: datetime | None


KEPT_FOR: Final = timedelta(days=1)
"""How long a key that is dead is known still."""

_shown_columns: Final = [api_keys.c[name] for name in ApiKey._fields]
_of_account: Final = api_keys.c.account_id == sa.bindparam("account_id")
_is_it: Final = api_keys.c.key_id == sa.bindparam("key_id")
_dead_since: Final = sa.func.least(api_keys.c.revoked_at, api_keys.c.expires_at, type_=TIMESTAMPTZ)
is_live: Final = api_keys.c.revoked_at.is_(None) & (api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > NOW))


def _make() -> Statement:
    names = [*NewKey._fields, "account_version", "account_position", "account_recorded"]
    row = sa.select(*[sa.bindparam(name, type_=api_keys.c[name].type) for name in names])
    live = sa.select(sa.func.count()).select_from(api_keys).where(_of_account, is_live).scalar_subquery()
    return Statement(
        sa.insert(api_keys).from_select(names, row.where(live < inline(MOST_KEYS))).returning(*_shown_columns)
    )


_MAKE: Final = _make()
_LISTED: Final = Statement(
    sa.select(*_shown_columns)
    .where(_of_account, is_live)
    .order_by(api_keys.c.created_at.desc(), api_keys.c.key_id.desc())
)
_IS_KEPT: Final = Statement(sa.select(api_keys.c.key_id).where(_is_it, _of_account))
_REVOKE: Final = Statement(
    sa.update(api_keys).values(revoked_at=sa.func.coalesce(api_keys.c.revoked_at, NOW)).where(_is_it, _of_account)
)
_REVOKE_ALL: Final = Statement(
    sa.update(api_keys).values(revoked_at=NOW).where(any_of(api_keys.c.key_id, "keys"), api_keys.c.revoked_at.is_(None))
)
_SWEEP: Final = Statement(sa.delete(api_keys).where(_of_account, _dead_since < NOW - KEPT_FOR))
OLD: Final = Retention(table=api_keys, since=_dead_since)
"""The same of those whose account makes no others."""


@contextmanager
def account_unchanged() -> Iterator[None]:
    """Around the transaction that makes a key: raises :class:`AccountChanged` where its commit was refused for that."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate == ACCOUNT_CHANGED:
            raise AccountChanged from None
        raise


async def make(connection: Pooled, new: NewKey, version: int, last: tuple[int, int] | None = None) -> ApiKey:
    """Stores the key, in the caller's transaction. Raises :class:`TooManyApiKeys`.

    It is stored if the account's stream is still at ``version`` and ends with the event ``last`` (its position and
    time), which the commit itself makes sure of (a trigger of the table): somebody whose access has ended meanwhile
    makes no key, however long this process was held up, and whichever event has taken the version of a lost one.
    """
    await take_turn(connection, "api-keys", new.account_id)
    await _sweep(connection, new.account_id)
    position, recorded = last or (None, None)
    row = await connection.fetchrow(
        *_MAKE(
            **{**new._asdict(), "scopes": list(new.scopes)},
            account_version=version,
            account_position=position,
            account_recorded=recorded,
        )
    )
    if row is None:
        raise TooManyApiKeys
    return _shown(row)


def told(key: ApiKey) -> dict[str, Any]:
    """What is kept of the answer to who made it, as JSON has it: all but the key itself."""
    return {
        "id": str(key.key_id),
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
    }


def as_told(answer: dict[str, Any]) -> ApiKey:
    """The key as it was when it was made."""
    created_at, expires_at = answer["created_at"], answer["expires_at"]
    return ApiKey(
        key_id=UUID(answer["id"]),
        name=answer["name"],
        scopes=answer["scopes"],
        created_at=datetime.fromisoformat(created_at),
        expires_at=expires_at and datetime.fromisoformat(expires_at),
        last_used_at=None,
    )


async def listed(database: Database, account_id: UUID) -> list[ApiKey]:
    """The account's live keys, the newest first."""
    rows = await database.fetch(*_LISTED(account_id=account_id))
    return [_shown(row) for row in rows]


async def is_kept(database: Database, account_id: UUID, key_id: UUID) -> bool:
    """Whether the account has such a key, or has had it within a day."""
    return await database.fetchrow(*_IS_KEPT(key_id=key_id, account_id=account_id)) is not None


async def revoke(database: Database, account_id: UUID, key_id: UUID) -> None:
    """Revokes the key, which the log has been told before. To revoke it again changes nothing."""
    await database.execute(*_REVOKE(key_id=key_id, account_id=account_id))


async def revoke_all(session: Session, key_ids: Sequence[UUID]) -> None:
    """Revokes these keys, in the caller's transaction."""
    await session.execute(*_REVOKE_ALL(keys=key_ids))


async def _sweep(connection: Pooled, account_id: UUID) -> None:
    """What has been dead for a day goes."""
    await connection.execute(*_SWEEP(account_id=account_id))


def _shown(row: Record) -> ApiKey:
    return ApiKey(*(row[name] for name in ApiKey._fields))
