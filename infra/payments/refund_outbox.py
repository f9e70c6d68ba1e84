"""The refund ledger: one row per payment that goes back, the only truth about it. Its times are Postgres's.

::

    owed ──claim──▶ asked ──returned──▶ the reference is kept ──▶ the order's log tells of it: recorded
     ▲                │ └──refused────▶ refused, until somebody has it asked again
     └───put off──────┘     (the lease of a worker that died runs out, and the same is asked again)
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from asyncpg import Record
from sqlalchemy.dialects.postgresql import insert

from domain.money import Money
from domain.orders.payment_deadline import RefundOwed
from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_causes import cause_columns, with_cause
from infra.eventsourcing.event_log import Session
from infra.observability.origin import UNKNOWN, Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database
from infra.postgres.reader import OneRow
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.outboxes import refund_ledger

_refund: Final = refund_ledger.c

WORK: Final = DueWork(
    table=refund_ledger,
    open=sa.and_(_refund.recorded_at.is_(None), _refund.refused_at.is_(None), _refund.amount > inline(0)),
    answers=(
        _refund.payment_id,
        _refund.order_id,
        _refund.amount,
        _refund.currency,
        _refund.correlation,
        _refund.attempts,
        _refund.refusals,
        _refund.reference,
        *cause_columns(_refund.position),
    ),
    lease_seconds=30.0,
    backoff=Backoff(longest=900.0),
)
"""The lease is longer than a claim and a call, or two workers could be asking for one refund."""

_SHOWN: Final = ("payment_id", "order_id", "created_at", "state", "attempts", "due_at", "reason")


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """Money that this worker is to have sent back, until its lease ends. ``attempts`` counts this one: the fence.

    ``refusals`` are the definite ones that somebody had asked again. ``reference`` is None until the money has gone
    back; then its order has yet to tell of it.
    """

    payment_id: str
    order_id: UUID
    amount: Money
    correlation: str | None
    attempts: int
    refusals: int
    reference: str | None
    cause: Cause = UNKNOWN

    @property
    def lease(self) -> Lease:
        return Lease((self.payment_id,), self.attempts)


class Standing(NamedTuple):
    """How much is open: payments owed, for how many seconds the oldest of them, and payments refused."""

    owed: int
    oldest: float
    refused: int


@dataclass(frozen=True, kw_only=True)
class Open:
    """A row that is not done with, as an operator sees it. ``due_at`` is None where it is refused.

    ``returned`` is one whose money has gone back, and whose order has yet to tell of it.
    """

    payment_id: str
    order_id: UUID
    amount: Money
    created_at: datetime
    state: Literal["owed", "refused", "returned"]
    attempts: int
    due_at: datetime | None
    reason: str | None


Again: TypeAlias = Literal["due", "done", "unknown"]

returned_rows: Final = _refund.returned_at.is_not(None)
"""Of which the provider has nothing more to be asked."""

_is_it: Final = _refund.payment_id == sa.bindparam("payment")
_payment: Final = (_refund.payment_id,)
_written: Final = ("payment_id", "order_id", "position", "amount", "currency", "was", "correlation")
_is_refused: Final = _refund.refused_at.is_not(None)
_age: Final = CLOCK - sa.func.min(_refund.created_at).filter(~_is_refused)

_WRITE: Final = Statement(
    insert(refund_ledger).values({name: sa.bindparam(name) for name in _written}).on_conflict_do_nothing()
)
_RETURNED: Final = Statement(
    sa.update(refund_ledger)
    .values(
        returned_at=CLOCK,
        reference=sa.bindparam("reference"),
        due_at=CLOCK,
        refused_at=sa.null(),
        last_error=sa.null(),
        leased_until=sa.null(),
    )
    .where(_is_it, _refund.returned_at.is_(None))
    .returning(*_payment)
)
_REFUSED: Final = WORK.settling({"refused_at": CLOCK, "last_error": sa.bindparam("reason")})
_RECORDED: Final = Statement(
    sa.update(refund_ledger)
    .values(recorded_at=CLOCK, last_error=sa.null())
    .where(_is_it, _refund.recorded_at.is_(None))
)
_STANDING: Final = Statement(
    sa.select(
        sa.func.count().filter(~_is_refused).label("owed"),
        sa.cast(sa.func.coalesce(sa.extract("epoch", _age), inline(0)), sa.Double).label("oldest"),
        sa.func.count(_refund.refused_at).label("refused"),
    ).where(_refund.returned_at.is_(None))
)
_OPEN: Final = Statement(
    sa.select(
        _refund.payment_id,
        _refund.order_id,
        _refund.amount,
        _refund.currency,
        _refund.created_at,
        _refund.attempts,
        _refund.last_error.label("reason"),
        sa.case(
            (_is_refused, inline("refused")), (_refund.returned_at.is_(None), inline("owed")), else_=inline("returned")
        ).label("state"),
        sa.case((~_is_refused, _refund.due_at)).label("due_at"),
    )
    .where(_refund.recorded_at.is_(None))
    .order_by(_refund.created_at, _refund.payment_id)
    .limit(sa.bindparam("limit"))
)
_RETRY: Final = Statement(
    sa.update(refund_ledger)
    .values(due_at=CLOCK, refused_at=sa.null(), refusals=_refund.refusals + sa.cast(_is_refused, sa.Integer))
    .where(_is_it, _refund.recorded_at.is_(None))
    .returning(*_payment)
)
_IS_KNOWN: Final = Statement(sa.select(*_payment).where(_is_it))


async def write(session: Session, owed: RefundOwed) -> None:
    """Writes money down as owed, in the caller's transaction; what stands there already is left as it is."""
    await session.execute(
        *_WRITE(
            payment_id=owed.payment_id,
            order_id=owed.order_id,
            position=owed.position,
            amount=owed.amount.amount,
            currency=owed.amount.currency,
            was=owed.was.value,
            correlation=owed.correlation,
        )
    )


async def claim(database: Database, limit: int, *, only: sa.ColumnElement[bool] | None = None) -> list[Claimed]:
    """Takes rows whose time has come, at most so many: money to be sent back, and orders to be told that it went."""
    return [_claimed(row) for row in await WORK.claim(database, limit, only=only)]


async def returned(database: Database, claimed: Claimed, reference: str) -> bool:
    """Writes down that the money has gone back; False where that was known.

    A fact: it holds also where the worker that saw it has lost its claim since.
    """
    row = await database.returning_row(*_RETURNED(payment=claimed.payment_id, reference=reference))
    return row is not None


async def refused(database: Database, claimed: Claimed, reason: str) -> bool:
    """Writes down that the provider will not; False where the row is no longer this attempt's."""
    return await WORK.write(database, claimed, _REFUSED, reason=storable(reason))


async def recorded(database: Database, payment_id: str) -> None:
    """Writes down that the order tells of it: nothing is left to be done."""
    await database.execute(*_RECORDED(payment=payment_id))


async def standing(database: OneRow) -> Standing:
    """How much is open."""
    row = await database.fetchrow(*_STANDING())
    assert row is not None  # noqa: S101 - an aggregate always has its row
    return Standing(*row)


async def open_rows(database: Database, limit: int) -> list[Open]:
    """What is not done with, the oldest first."""
    rows = await database.fetch(*_OPEN(limit=limit))
    return [_open(row) for row in rows]


async def retry(database: Database, payment_id: str) -> Again:
    """Makes a row due at once, whatever it waits for, a refusal too. A call that is under way is not made twice.

    A refusal that is asked again begins a new idempotency key: under the old one a provider says what it has said.
    After anything less definite the key stays, for that money may have gone back.
    """
    row = await database.returning_row(*_RETRY(payment=payment_id))
    if row is not None:
        return "due"
    known = await database.fetchrow(*_IS_KNOWN(payment=payment_id))
    return "unknown" if known is None else "done"


def _open(row: Record) -> Open:
    return Open(amount=_money(row), **{name: row[name] for name in _SHOWN})


def _claimed(row: Record) -> Claimed:
    told = with_cause(row)
    return Claimed(amount=Money(amount=told.pop("amount"), currency=told.pop("currency")), **told)


def _money(row: Record) -> Money:
    return Money(amount=row["amount"], currency=row["currency"])
