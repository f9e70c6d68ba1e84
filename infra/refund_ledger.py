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

from asyncpg import Record

from domain.money import Money
from domain.order_time import RefundOwed
from infra.database import Database
from infra.log import Session

LONGEST_ERROR: Final = 500

_SHOWN: Final = ("payment_id", "order_id", "created_at", "state", "attempts", "due_at", "reason")
_OWED: Final = "returned_at IS NULL AND refused_at IS NULL"
_DUE: Final = "due_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until <= clock_timestamp())"


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """Money that this worker is to have sent back, until its lease ends. ``attempts`` counts this one: the fence."""

    payment_id: str
    amount: Money
    correlation: str | None
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """Money that has gone back, and whose order has yet to tell of it."""

    payment_id: str
    order_id: UUID
    reference: str
    correlation: str | None
    attempts: int


class Due(NamedTuple):
    """A row to see to: whether its money has gone back already, after how many attempts."""

    payment_id: str
    returned: bool
    attempts: int


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


async def due(database: Database, limit: int, *, returned_only: bool = False) -> list[Due]:
    """Rows whose time has come, the longest waiting first."""
    rows = await database.fetch(
        "SELECT payment_id, returned_at IS NOT NULL AS returned, attempts FROM refund_ledger"  # noqa: S608
        f" WHERE recorded_at IS NULL AND refused_at IS NULL AND {_DUE} AND (returned_at IS NOT NULL OR NOT $2)"
        " ORDER BY due_at LIMIT $1",
        limit,
        returned_only,
    )
    return [Due(*row) for row in rows]


async def claim(database: Database, payment_id: str, *, lease_seconds: float) -> Claimed | None:
    """Takes a row that is owed and due; None for one that is settled, not due, or another worker's."""
    row = await database.returning_row(
        "UPDATE refund_ledger SET attempts = attempts + 1,"  # noqa: S608
        " leased_until = clock_timestamp() + make_interval(secs => $2)"
        f" WHERE payment_id = $1 AND {_OWED} AND {_DUE}"
        " RETURNING payment_id, amount, currency, correlation, attempts",
        payment_id,
        lease_seconds,
    )
    if row is None:
        return None
    amount = Money(amount=row["amount"], currency=row["currency"])
    return Claimed(
        payment_id=row["payment_id"], amount=amount, correlation=row["correlation"], attempts=row["attempts"]
    )


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
    row = await database.returning_row(
        "UPDATE refund_ledger SET refused_at = clock_timestamp(), last_error = $3, leased_until = NULL"  # noqa: S608
        f" WHERE payment_id = $1 AND attempts = $2 AND {_OWED} RETURNING payment_id",
        claimed.payment_id,
        claimed.attempts,
        reason[:LONGEST_ERROR],
    )
    return row is not None


async def put_off(database: Database, claimed: Claimed | Unrecorded, reason: str, wait_seconds: float) -> bool:
    """Looks at the row again after so long; False where it is no longer this attempt's.

    A claim has counted its attempt, an order that could not be told has not: so that waits grow, it is counted here.
    """
    row = await database.returning_row(
        "UPDATE refund_ledger SET last_error = $3, leased_until = NULL,"
        " due_at = clock_timestamp() + make_interval(secs => $4),"
        " attempts = attempts + (returned_at IS NOT NULL)::integer"
        " WHERE payment_id = $1 AND attempts = $2 AND (returned_at IS NOT NULL) = $5"
        " AND refused_at IS NULL AND recorded_at IS NULL RETURNING payment_id",
        claimed.payment_id,
        claimed.attempts,
        reason.replace("\0", "\\0")[:LONGEST_ERROR],
        wait_seconds,
        isinstance(claimed, Unrecorded),
    )
    return row is not None


async def unrecorded(database: Database, payment_id: str) -> Unrecorded | None:
    """The row, if its money has gone back, its order is to tell of it, and it is time to."""
    row = await database.fetchrow(
        "SELECT payment_id, order_id, reference, correlation, attempts FROM refund_ledger"  # noqa: S608
        f" WHERE payment_id = $1 AND returned_at IS NOT NULL AND recorded_at IS NULL AND {_DUE}",
        payment_id,
    )
    return Unrecorded(**row) if row else None


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
    """Makes a row due at once, whatever it waits for, a refusal too. A call that is under way is not made twice."""
    row = await database.returning_row(
        "UPDATE refund_ledger SET due_at = clock_timestamp(), refused_at = NULL"
        " WHERE payment_id = $1 AND recorded_at IS NULL RETURNING payment_id",
        payment_id,
    )
    if row is not None:
        return "due"
    known = await database.fetchrow("SELECT FROM refund_ledger WHERE payment_id = $1", payment_id)
    return "unknown" if known is None else "done"


def _open(row: Record) -> Open:
    amount = Money(amount=row["amount"], currency=row["currency"])
    return Open(amount=amount, **{name: row[name] for name in _SHOWN})
