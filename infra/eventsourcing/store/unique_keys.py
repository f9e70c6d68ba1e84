"""Unique keys as the log keeps them: the digest of a claim's normal form, and who holds it."""

from hashlib import sha256
from uuid import UUID

from infra.postgres.pool import Database


def digest(scope: str, key: str) -> bytes:
    """The 32 bytes under which ``claims`` holds a key that is already in its normal form.

    The scope goes in too, so that equal digests never tell that a username equals some other kind of key.
    """
    return sha256(f"{scope}\x00{key}".encode()).digest()


async def holder(database: Database, scope: str, key: str) -> UUID | None:
    """The stream that holds the key, or None."""
    row = await database.fetchrow(
        "SELECT stream_id FROM claims WHERE scope = $1 AND key_digest = $2", scope, digest(scope, key)
    )
    return row["stream_id"] if row else None
