"""API keys as rows: made, listed, revoked."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from infra.database import Database, Pooled
from infra.errors import IdempotencyKeyReused

MOST_KEYS: Final = 20
"""Live keys of one account."""

_LIVE: Final = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
_SHOWN: Final = "key_id, name, scopes, created_at, expires_at, last_used_at"


class TooManyApiKeys(Exception):
    """The account has as many live keys as it may have."""


class ApiKey(NamedTuple):
    """What is shown of a key."""

    key_id: UUID
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewKey(NamedTuple):
    """A key to be made. ``request_key`` and ``fingerprint`` are those of the request, if it may be repeated."""

    key_id: UUID
    account_id: UUID
    name: str
    digest: bytes
    scopes: Sequence[str]
    expires_at: datetime | None
    request_key: str | None = None
    fingerprint: bytes | None = None


class Made(NamedTuple):
    """A key that is there; ``replayed`` where an earlier request made it, whose answer alone held the key itself."""

    key: ApiKey
    replayed: bool


async def make(database: Database, new: NewKey) -> Made:
    """Stores the key, or finds the one that the same request made before.

    Raises :class:`TooManyApiKeys` and :class:`~infra.errors.IdempotencyKeyReused`.
    """
    request = sha256(new.request_key.encode()).digest() if new.request_key is not None else None
    async with database.write() as connection:
        # Two requests of one account take their turns: to count and to insert must be one thing.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"api-keys {new.account_id}")
        await _sweep(connection, new.account_id)
        if request and (known := await _made_before(connection, new, request)):
            return Made(known, replayed=True)
        return Made(await _insert(connection, new, request), replayed=False)


async def listed(database: Database, account_id: UUID) -> list[ApiKey]:
    """The account's live keys, the newest first."""
    rows = await database.fetch(
        f"SELECT {_SHOWN} FROM api_keys WHERE account_id = $1 AND {_LIVE} ORDER BY created_at DESC, key_id",  # noqa: S608
        account_id,
    )
    return [_shown(row) for row in rows]


async def revoke(database: Database, account_id: UUID, key_id: UUID) -> bool:
    """Revokes the key; False if the account has no such key. To revoke it again changes nothing."""
    row = await database.returning_row(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 AND account_id = $2"
        " RETURNING key_id",
        key_id,
        account_id,
    )
    return row is not None


async def _sweep(connection: Pooled, account_id: UUID) -> None:
    """What has been dead for a day goes, and an idempotency key counts for a day."""
    await connection.execute(
        "DELETE FROM api_keys WHERE account_id = $1 AND least(revoked_at, expires_at) < now() - interval '1 day'",
        account_id,
    )
    await connection.execute(
        "UPDATE api_keys SET request_key = NULL, fingerprint = NULL"
        " WHERE account_id = $1 AND request_key IS NOT NULL AND created_at < now() - interval '1 day'",
        account_id,
    )


async def _made_before(connection: Pooled, new: NewKey, request: bytes) -> ApiKey | None:
    row = await connection.fetchrow(
        f"SELECT {_SHOWN}, fingerprint FROM api_keys WHERE account_id = $1 AND request_key = $2",  # noqa: S608
        new.account_id,
        request,
    )
    if row is None:
        return None
    if row["fingerprint"] != new.fingerprint:
        raise IdempotencyKeyReused
    return _shown(row)


async def _insert(connection: Pooled, new: NewKey, request: bytes | None) -> ApiKey:
    row = await connection.fetchrow(
        "INSERT INTO api_keys (key_id, account_id, name, digest, scopes, expires_at, request_key, fingerprint)"  # noqa: S608
        " SELECT $1, $2, $3, $4, $5, $6, $7, $8"
        f" WHERE (SELECT count(*) FROM api_keys WHERE account_id = $2 AND {_LIVE}) < {MOST_KEYS}"
        f" RETURNING {_SHOWN}",
        new.key_id,
        new.account_id,
        new.name,
        new.digest,
        list(new.scopes),
        new.expires_at,
        request,
        new.fingerprint,
    )
    if row is None:
        raise TooManyApiKeys
    return _shown(row)


def _shown(row: Record) -> ApiKey:
    return ApiKey(*(row[name] for name in ApiKey._fields))
