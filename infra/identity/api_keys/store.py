"""API keys as rows: made, listed, revoked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
from asyncpg import Record

from infra.eventsourcing.event_log import Session
from infra.identity.account_turns import take_turn
from infra.postgres.pool import Database, Pooled

MOST_KEYS: Final = 20
"""Live keys of one account."""

ACCOUNT_CHANGED: Final = "WE001"
"""What the trigger of the table says where the account is at another version."""

_LIVE: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
_SHOWN: Final = "key_id, name, scopes, created_at, expires_at, last_used_at"


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
    row = await connection.fetchrow(
        "INSERT INTO api_keys (key_id, account_id, name, digest, scopes, expires_at, account_version,"  # noqa: S608
        " account_position, account_recorded) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9"
        f" WHERE (SELECT count(*) FROM api_keys WHERE account_id = $2 AND {_LIVE}) < {MOST_KEYS}"
        f" RETURNING {_SHOWN}",
        new.key_id,
        new.account_id,
        new.name,
        new.digest,
        list(new.scopes),
        new.expires_at,
        version,
        *(last or (None, None)),
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
    rows = await database.fetch(
        f"SELECT {_SHOWN} FROM api_keys WHERE account_id = $1 AND {_LIVE} ORDER BY created_at DESC, key_id",  # noqa: S608
        account_id,
    )
    return [_shown(row) for row in rows]


async def is_kept(database: Database, account_id: UUID, key_id: UUID) -> bool:
    """Whether the account has such a key, or has had it within a day."""
    row = await database.fetchrow(
        "SELECT FROM api_keys WHERE key_id = $1 AND account_id = $2",
        key_id,
        account_id,
    )
    return row is not None


async def revoke(database: Database, account_id: UUID, key_id: UUID) -> None:
    """Revokes the key, which the log has been told before. To revoke it again changes nothing."""
    await database.execute(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 AND account_id = $2",
        key_id,
        account_id,
    )


async def revoke_all(session: Session, key_ids: Sequence[UUID]) -> None:
    """Revokes these keys, in the caller's transaction."""
    await session.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE key_id = ANY ($1::uuid[]) AND revoked_at IS NULL", key_ids
    )


async def _sweep(connection: Pooled, account_id: UUID) -> None:
    """What has been dead for a day goes."""
    await connection.execute(
        "DELETE FROM api_keys WHERE account_id = $1 AND least(revoked_at, expires_at) < now() - interval '1 day'",
        account_id,
    )


def _shown(row: Record) -> ApiKey:
    return ApiKey(*(row[name] for name in ApiKey._fields))
