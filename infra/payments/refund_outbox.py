"""The refund ledger: one row per payment that goes back, the only truth about it. Its times are Postgres's.

::

    owed ──claim──▶ asked ──returned──▶ the reference is kept ──▶ the order's log tells of it: recorded
     ▲                │ └──refused────▶ refused, until somebody has it asked again
     └───put off──────┘     (the lease of a worker that died runs out, and the same is asked again)
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from asyncpg import Record

from domain.money import Money
from domain.orders.payment_deadline import RefundOwed
from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_log import Session
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database

WORK: Final = DueWork(
    table="refund_ledger",
    key=("payment_id",),
    open="recorded_at IS NULL AND refused_at IS NULL AND amount > 0",
    answers="payment_id, order_id, amount, currency, correlation, attempts, refusals, reference",
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


async def write(session: Session, owed: RefundOwed) -> None:
    """Writes money down as owed, in the caller's transaction; what stands there already is left as it is."""
    await session.execute(
        "INSERT INTO refund_ledger (payment_id, order_id, position, amount, currency, was, correlation)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        owed.payment_id,
        owed.order_id,
        owed.position,
        owed.amount.amount,
        owed.amount.currency,
        owed.was.value,
        owed.correlation,
    )


async def claim(database: Database, limit: int, *, only: str = "true") -> list[Claimed]:
    """Takes rows whose time has come, at most so many: money to be sent back, and orders to be told that it went."""
    return [Claimed(amount=_money(row), **_without_money(row)) for row in await WORK.claim(database, limit, only=only)]


async def returned(database: Database, claimed: Claimed, reference: str) -> bool:
    """Writes down that the money has gone back; False where that was known.

    A fact: it holds also where the worker that saw it has lost its claim since.
    """
    row = await database.returning_row(
        "UPDATE refund_ledger SET returned_at = clock_timestamp(), reference = $2, due_at = clock_timestamp(),"
        " refused_at = NULL, last_error = NULL, leased_until = NULL"
        " WHERE payment_id = $1 AND returned_at IS NULL RETURNING payment_id",
        claimed.payment_id,
        reference,
    )
    return row is not None


async def refused(database: Database, claimed: Claimed, reason: str) -> bool:
    """Writes down that the provider will not; False where the row is no longer this attempt's."""
    return await WORK.settle(database, claimed, "refused_at = clock_timestamp(), last_error = $1", storable(reason))


async def recorded(database: Database, payment_id: str) -> None:
    """Writes down that the order tells of it: nothing is left to be done."""
    await database.execute(
        "UPDATE refund_ledger SET recorded_at = clock_timestamp(), last_error = NULL"
        " WHERE payment_id = $1 AND recorded_at IS NULL",
        payment_id,
    )


async def standing(database: Database) -> Standing:
    """How much is open."""
    row = await database.fetchrow(
        "SELECT count(*) FILTER (WHERE refused_at IS NULL) AS owed,"
        " coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE refused_at IS NULL)), 0)"
        " ::double precision AS oldest, count(refused_at) AS refused FROM refund_ledger WHERE returned_at IS NULL"
    )
    assert row is not None  # noqa: S101 - an aggregate always has its row
    return Standing(*row)


async def open_rows(database: Database, limit: int) -> list[Open]:
    """What is not done with, the oldest first."""
    rows = await database.fetch(
        "SELECT payment_id, order_id, amount, currency, created_at, attempts, last_error AS reason,"
        " CASE WHEN refused_at IS NOT NULL THEN 'refused' WHEN returned_at IS NULL THEN 'owed' ELSE 'returned' END"
        " AS state,"
        " CASE WHEN refused_at IS NULL THEN due_at END AS due_at"
        " FROM refund_ledger WHERE recorded_at IS NULL ORDER BY created_at, payment_id LIMIT $1",
        limit,
    )
    return [_open(row) for row in rows]


async def retry(database: Database, payment_id: str) -> Again:
    """Makes a row due at once, whatever it waits for, a refusal too. A call that is under way is not made twice.

    A refusal that is asked again begins a new idempotency key: under the old one a provider says what it has said.
    After anything less definite the key stays, for that money may have gone back.
    """
    row = await database.returning_row(
        "UPDATE refund_ledger SET due_at = clock_timestamp(), refused_at = NULL,"
        " refusals = refusals + (refused_at IS NOT NULL)::integer"
        " WHERE payment_id = $1 AND recorded_at IS NULL RETURNING payment_id",
        payment_id,
    )
    if row is not None:
        return "due"
    known = await database.fetchrow("SELECT FROM refund_ledger WHERE payment_id = $1", payment_id)
    return "unknown" if known is None else "done"


def _open(row: Record) -> Open:
    return Open(amount=_money(row), **{name: row[name] for name in _SHOWN})


def _money(row: Record) -> Money:
    return Money(amount=row["amount"], currency=row["currency"])


def _without_money(row: Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("amount", "currency")}
