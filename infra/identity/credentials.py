"""Password hashes by account: rows beside the log, because a secret in an event could never be forgotten."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

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
from infra.postgres.statements import NOW, Statement, inline
from infra.postgres.tables.identity import credentials
from infra.postgres.tables.log import claims, events

NO_ACCOUNT: Final = (Refusal, VersionMismatch, IdempotencyKeyReused, IdempotencyKeyInFlight, TooBusy, Unavailable)
"""What says for certain that a registration stored nothing. After anything else the account may be there: then its hash
must stay, and where there is none :class:`OrphanSweep` finds that out a day later."""

KEPT_HOURS: Final = 24
AT_ONCE: Final = 1_000


_is_its: Final = credentials.c.account_id == sa.bindparam("account")
_given: Final[dict[str, Any]] = {name: sa.bindparam(name) for name in ("account_id", "password_hash")}

_FIND: Final = Statement(
    sa.select(claims.c.stream_id, credentials.c.password_hash, credentials.c.password_no)
    .outerjoin_from(claims, credentials, credentials.c.account_id == claims.c.stream_id)
    .where(claims.c.scope == sa.bindparam("scope"), claims.c.key_digest == sa.bindparam("key"))
)
_OF_ACCOUNT: Final = Statement(sa.select(credentials.c.password_hash, credentials.c.password_no).where(_is_its))
_STORE: Final = Statement(insert(credentials).values(_given).on_conflict_do_nothing(index_elements=["account_id"]))
_REHASH: Final = Statement(
    sa.update(credentials)
    .values(password_hash=sa.bindparam("password_hash"))
    .where(_is_its, credentials.c.password_hash == sa.bindparam("known"))
)
_FORGET: Final = Statement(sa.delete(credentials).where(_is_its))


def _replace() -> Statement:
    put = insert(credentials).values(**_given, password_no=sa.bindparam("password_no"))
    newer = {"password_hash": put.excluded.password_hash, "password_no": put.excluded.password_no, "changed_at": NOW}
    older = credentials.c.password_no < put.excluded.password_no
    return Statement(put.on_conflict_do_update(index_elements=["account_id"], set_=newer, where=older))


def _forget_orphans() -> Statement:
    registered = sa.exists().where(events.c.stream_id == credentials.c.account_id)
    unsettled = sa.select(credentials.c.account_id, registered.label("registered")).where(
        ~credentials.c.settled, credentials.c.changed_at < NOW - timedelta(hours=KEPT_HOURS)
    )
    first = unsettled.order_by(credentials.c.changed_at).limit(inline(AT_ONCE))
    old = first.with_for_update(skip_locked=True, of=credentials).cte("old")
    its = credentials.c.account_id == old.c.account_id
    kept = sa.update(credentials).values(settled=True).where(its, old.c.registered).cte("kept")
    gone = sa.delete(credentials).where(its, ~old.c.registered).returning(credentials.c.account_id).cte("gone")
    seen = sa.select(sa.func.count()).select_from(old).scalar_subquery().label("seen")
    return Statement(sa.select(seen, sa.func.count().label("forgotten")).select_from(gone).add_cte(kept))


_REPLACE: Final = _replace()
_FORGET_ORPHANS: Final = _forget_orphans()


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
    row = await database.fetchrow(*_FIND(scope=scope, key=digest(scope, key)))
    return Credential(row["stream_id"], row["password_hash"], row["password_no"] or 0) if row else None


async def of_account(database: Database, account_id: UUID) -> Credential:
    """The credential of an account."""
    row = await database.fetchrow(*_OF_ACCOUNT(account=account_id))
    return Credential(account_id, *row) if row else Credential(account_id, None, 0)


async def store(database: Database, account_id: UUID, password_hash: str) -> None:
    """Gives a new account its password.

    Call it before the registration is appended: an account that can be found can then sign in at once, and a hash whose
    registration was refused belongs to nobody.
    """
    await database.execute(*_STORE(account_id=account_id, password_hash=password_hash))


async def replace(session: Session, account_id: UUID, password_hash: str, password_no: int) -> bool:
    """Puts a newer password in the place of an older one, in the caller's transaction; never the other way round.

    Answers whether it did.
    """
    done = await session.execute(*_REPLACE(account_id=account_id, password_hash=password_hash, password_no=password_no))
    return done == "INSERT 0 1"


async def rehash(database: Database, known: Credential, password_hash: str) -> None:
    """Puts another hash of the same password in its place, unless the password has changed meanwhile."""
    await database.execute(*_REHASH(account=known.account_id, known=known.password_hash, password_hash=password_hash))


async def forget(database: Database, account_id: UUID) -> None:
    """Removes the password of an account that never came to be. What cannot be removed now goes a day later."""
    with suppress(*AWAY):
        await database.execute(*_FORGET(account=account_id))


class OrphanSweep:
    """Looks once at each password that is a day old, and removes it where its account never came to be.

    What has been looked at is ``settled`` and in no index, so that only the last day's are ever read.
    """

    def __init__(self) -> None:
        self.forgotten = 0

    async def step(self, database: Database) -> bool:
        """Looks at some; answers whether there may be more."""
        row = await database.returning_row(*_FORGET_ORPHANS())
        if row is None:
            return False
        self.forgotten += row["forgotten"]
        return bool(row["seen"] == AT_ONCE)
