"""Accounts that were erased and have rooms to leave: due work, written with the rows that the erasure makes void.

::

    account.erased ──▶ owed ──claim──▶ LeaveRoom, for one room after the other ──▶ none is left: the row goes
                        ▲                     │
                        └──── later, or when the lease is over

Which rooms those are is what the append keeps (:mod:`domain.rooms.allowances`), so one that was left is not met again:
whoever dies in between leaves the rest owed, and nothing is done twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from domain.kernel.messages import Recorded
from domain.rooms import INVITATION, MEMBERSHIP
from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_log import Session
from infra.observability.origin import Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.pool import Database
from infra.postgres.statements import Statement, inline
from infra.postgres.tables.identity import room_departures
from infra.postgres.tables.log import allowances

PAGE: Final = 100

_departure: Final = room_departures.c
_answers: Final = (_departure.account_id, _departure.correlation, _departure.attempts)

WORK: Final = DueWork(table=room_departures, answers=_answers, lease_seconds=30.0, backoff=Backoff(longest=300.0))

_OWE: Final = Statement(
    insert(room_departures)
    .values(account_id=sa.bindparam("account"), correlation=sa.bindparam("correlation"))
    .on_conflict_do_nothing()
)
_ROOMS: Final = Statement(
    sa.select(allowances.c.stream_id)
    .where(
        allowances.c.scope.in_([inline(MEMBERSHIP), inline(INVITATION)]),
        allowances.c.owner == sa.bindparam("account"),
        allowances.c.stream_id > sa.bindparam("after"),
    )
    .order_by(allowances.c.stream_id)
    .limit(inline(PAGE))
)
_DONE: Final = Statement(
    sa.delete(room_departures).where(
        _departure.account_id == sa.bindparam("account"), _departure.attempts == sa.bindparam("attempts")
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """An account whose rooms this worker leaves, until its lease ends. ``attempts`` is the fence."""

    account_id: UUID
    correlation: str | None
    attempts: int

    @property
    def lease(self) -> Lease:
        return Lease((self.account_id,), self.attempts)

    @property
    def cause(self) -> Cause:
        account = str(self.account_id)
        return Cause(correlation=self.correlation, causation=f"erasure:{account}", account=account)


async def owe(session: Session, erased: Sequence[Recorded]) -> None:
    """Writes down that these accounts have rooms to leave, in the caller's transaction; what is owed stays as it is."""
    for event in erased:
        await session.execute(*_OWE(account=event.stream_id, correlation=event.metadata.get("correlation")))


async def claim(database: Database, limit: int) -> Sequence[Claimed]:
    """Accounts that nobody is at, at most so many."""
    rows = await WORK.claim(database, limit)
    return [Claimed(account_id=UUID(bytes=row[0].bytes), correlation=row[1], attempts=row[2]) for row in rows]


async def rooms(database: Database, account_id: UUID, after: UUID) -> Sequence[UUID]:
    """The next rooms behind that one which the account is in or asked into, :data:`PAGE` at most."""
    return [UUID(bytes=row[0].bytes) for row in await database.fetch(*_ROOMS(account=account_id, after=after))]


async def done(database: Database, claimed: Claimed) -> None:
    """Removes the row of an account that is in no room any more, unless somebody else is at it now."""
    await database.execute(*_DONE(account=claimed.account_id, attempts=claimed.attempts))
