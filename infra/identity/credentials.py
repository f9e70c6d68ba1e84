"""Password hashes by account: rows beside the log, because a secret in an event could never be forgotten."""

from contextlib import suppress
from typing import Final, NamedTuple
from uuid import UUID

from domain.kernel.refusals import Refusal
from infra.errors import (
    AWAY,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    TooBusy,
    Unavailable,
    VersionMismatch,
)
from infra.eventsourcing.event_log import Session
from infra.eventsourcing.store.unique_keys import digest
from infra.postgres.pool import Database

NO_ACCOUNT: Final = (Refusal, VersionMismatch, IdempotencyKeyReused, IdempotencyKeyInFlight, TooBusy, Unavailable)
"""What says for certain that a registration stored nothing. After anything else the account may be there: then its hash
must stay, and where there is none :func:`forget_orphans` finds that out a day later."""

KEPT_HOURS: Final = 24


class Credential(NamedTuple):
    """An account and the hash of its password, None where it has none.

    ``password_no`` tells which of its passwords that is. It counts if the account says the same: a hash that is behind
    is that of a password which has been changed, and whose successor is still on its way here.
    """

    account_id: UUID
    password_hash: str | None
    password_no: int


async def find(database: Database, scope: str, key: str) -> Credential | None:
    """The account that holds a unique key (scope ``email`` or ``username``, the key in its normal form)."""
    row = await database.fetchrow(
        "SELECT c.stream_id, k.password_hash, k.password_no"
        " FROM claims c LEFT JOIN credentials k ON k.account_id = c.stream_id"
        " WHERE c.scope = $1 AND c.key_digest = $2",
        scope,
        digest(scope, key),
    )
    return Credential(row["stream_id"], row["password_hash"], row["password_no"] or 0) if row else None


async def of_account(database: Database, account_id: UUID) -> Credential:
    """The credential of an account."""
    row = await database.fetchrow(
        "SELECT password_hash, password_no FROM credentials WHERE account_id = $1", account_id
    )
    return Credential(account_id, *row) if row else Credential(account_id, None, 0)


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


async def replace(session: Session, account_id: UUID, password_hash: str, password_no: int) -> bool:
    """Puts a newer password in the place of an older one, in the caller's transaction; never the other way round.

    Answers whether it did.
    """
    done = await session.execute(
        "INSERT INTO credentials AS c (account_id, password_hash, password_no) VALUES ($1, $2, $3)"
        " ON CONFLICT (account_id) DO UPDATE"
        " SET password_hash = excluded.password_hash, password_no = excluded.password_no, changed_at = now()"
        " WHERE c.password_no < excluded.password_no",
        account_id,
        password_hash,
        password_no,
    )
    return done == "INSERT 0 1"


async def rehash(database: Database, known: Credential, password_hash: str) -> None:
    """Puts another hash of the same password in its place, unless the password has changed meanwhile."""
    await database.execute(
        "UPDATE credentials SET password_hash = $3 WHERE account_id = $1 AND password_hash = $2",
        known.account_id,
        known.password_hash,
        password_hash,
    )


async def forget(database: Database, account_id: UUID) -> None:
    """Removes the password of an account that never came to be. What cannot be removed now goes a day later."""
    with suppress(*AWAY):
        await database.execute("DELETE FROM credentials WHERE account_id = $1", account_id)


async def forget_orphans(database: Database, *, at_once: int = 1_000) -> int:
    """Looks once at each password that is a day old: removes it where its account never came to be; answers how many.

    What has been looked at is ``settled`` and in no index, so that only the last day's are ever read.
    """
    row = await database.returning_row(
        "WITH old AS ("
        " SELECT account_id, EXISTS (SELECT FROM events e WHERE e.stream_id = c.account_id) AS registered"
        " FROM credentials c WHERE NOT settled AND changed_at < now() - make_interval(hours => $1)"
        " ORDER BY changed_at LIMIT $2 FOR UPDATE SKIP LOCKED),"
        " kept AS (UPDATE credentials c SET settled = true FROM old"
        "  WHERE c.account_id = old.account_id AND old.registered),"
        " gone AS (DELETE FROM credentials c USING old"
        "  WHERE c.account_id = old.account_id AND NOT old.registered RETURNING 1)"
        " SELECT count(*) AS forgotten FROM gone",
        KEPT_HOURS,
        at_once,
    )
    return int(row["forgotten"]) if row else 0
