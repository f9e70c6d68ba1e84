"""Wishes for a new password: kept before they are answered, looked into after, and nobody learns what was found.

The process that keeps one holds it, and looks into it at once; what it does not come to is due for a worker when the
lease is over. So a wish that was answered is never lost, and its answer takes as long whoever asks.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import sqlalchemy as sa

from domain.accounts import ACCOUNTS, RequestPasswordReset
from domain.kernel.refusals import Refusal
from infra.concurrency.backoff import Backoff
from infra.errors import IdempotencyKeyReused
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.store.unique_keys import holder
from infra.observability.origin import Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK, Statement
from infra.postgres.tables.identity import reset_wishes

_wish: Final = reset_wishes.c
_asked: Final = (_wish.wish_id, _wish.email_key, _wish.idempotency_key, _wish.fingerprint, _wish.correlation)
_answers: Final = (*_asked, _wish.traceparent, _wish.attempts)

WORK: Final = DueWork(table=reset_wishes, answers=_answers, lease_seconds=30.0, backoff=Backoff(longest=300.0))


def _keep() -> Statement:
    lease = sa.select((CLOCK + timedelta(seconds=WORK.lease_seconds)).label("until")).subquery("lease")
    given = {column.name: sa.bindparam(column.name, type_=column.type) for column in _answers}
    row = {**given, "due_at": lease.c.until, "leased_until": lease.c.until}
    return Statement(sa.insert(reset_wishes).from_select([*row], sa.select(*row.values())))


_KEEP: Final = _keep()
_DONE: Final = Statement(
    sa.delete(reset_wishes).where(_wish.wish_id == sa.bindparam("wish"), _wish.attempts == sa.bindparam("attempts"))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """A wish that is this process's until its lease ends. ``attempts`` is the fence."""

    wish_id: UUID
    email_key: str = field(repr=False)
    idempotency_key: str | None
    fingerprint: bytes
    correlation: str | None
    traceparent: str | None
    attempts: int

    @property
    def lease(self) -> Lease:
        return Lease((self.wish_id,), self.attempts)

    @property
    def cause(self) -> Cause:
        """Not whose it is: that is for nobody to learn."""
        return Cause(correlation=self.correlation, causation="reset", traceparent=self.traceparent)


async def keep(database: Database, email_key: str, context: CommandContext) -> Claimed:
    """Writes a wish down, and holds it. Of the request's context goes with it what does not say who asked."""
    wish = Claimed(
        wish_id=uuid4(),
        email_key=email_key,
        idempotency_key=context.idempotency_key,
        fingerprint=context.fingerprint,
        correlation=context.correlation,
        traceparent=context.traceparent,
        attempts=1,
    )
    await database.execute(*_KEEP(**{column.name: getattr(wish, column.name) for column in _answers}))
    return wish


async def claim(database: Database, limit: int) -> Sequence[Claimed]:
    """Wishes that nobody is at, at most so many."""
    return [Claimed(**row) for row in await WORK.claim(database, limit)]


async def look_into(database: Database, handler: CommandHandler, wish: Claimed) -> None:
    """Asks for the reset where there is an account, and is done with the wish.

    An account that may not have a reset is as good as none. If this process dies in between, the next one asks again:
    the newer link takes the place of the older one.
    """
    account_id = await holder(database, "email", wish.email_key)
    if account_id is not None:
        context = CommandContext(
            principal=f"reset:{account_id}",
            actor=str(account_id),
            correlation=wish.correlation,
            traceparent=wish.traceparent,
            idempotency_key=wish.idempotency_key,
            fingerprint=wish.fingerprint,
        )
        with suppress(Refusal, IdempotencyKeyReused):
            await handler.handle((ACCOUNTS, account_id), RequestPasswordReset(), context)
    await done(database, wish)


async def done(database: Database, wish: Claimed) -> None:
    """Removes a wish that has been looked into, unless somebody else is at it now."""
    await database.execute(*_DONE(wish=wish.wish_id, attempts=wish.attempts))
