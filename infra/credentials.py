"""Password hashes by account: rows beside the log, because a secret in an event could never be forgotten."""

from typing import NamedTuple
from uuid import UUID

from infra.claims import digest
from infra.database import Database


class Credential(NamedTuple):
    """An account and the hash of its password, None where it has none."""

    account_id: UUID
    password_hash: str | None


async def find(database: Database, scope: str, key: str) -> Credential | None:
    """The account that holds a unique key (scope ``email`` or ``username``, the key in its normal form)."""
    row = await database.fetchrow(
        "SELECT c.stream_id, k.password_hash FROM claims c LEFT JOIN credentials k ON k.account_id = c.stream_id"
        " WHERE c.scope = $1 AND c.key_digest = $2",
        scope,
        digest(scope, key),
    )
    return Credential(row["stream_id"], row["password_hash"]) if row else None


async def store(database: Database, account_id: UUID, password_hash: str) -> None:
    """Gives a new account its password.

    Call it before the registration is appended: an account that can be found can then sign in at once, and a hash whose
    registration was refused belongs to nobody.
    """
    await database.execute(
        "INSERT INTO credentials (account_id, password_hash) VALUES ($1, $2) ON CONFLICT (account_id) DO NOTHING",
        account_id,
        password_hash,
    )


async def forget(database: Database, account_id: UUID) -> None:
    """Removes the password of an account that never came to be."""
    await database.execute("DELETE FROM credentials WHERE account_id = $1", account_id)
