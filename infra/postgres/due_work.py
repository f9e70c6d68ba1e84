"""Due work: rows that say what is owed, when to look at them next, and who is at them. Mail, refunds, timers, imports.

::

    due ──claim──▶ leased ──settle──▶ done, or no more to be done
     ▲               │ ├───put off──▶ due later, after a growing wait
     └─ lease is over ─┘

All tables of due work have one shape: a due time, ``leased_until``, a fence that each claim raises by one, and
``last_error``. Nothing but the row says that work is owed, and no clock but Postgres's says when.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import sqlalchemy as sa
from asyncpg import Record

from infra.concurrency.backoff import Backoff
from infra.observability.origin import Cause
from infra.postgres.errors import PASSING, storable
from infra.postgres.pool import Database
from infra.postgres.reader import OneRow
from infra.postgres.statements import CLOCK, Statement, inline

T = TypeVar("T")

MOST_COUNTED: Final = 500
MOST_HASTENED: Final = 1_000
"""Rows that one statement changes."""

_now: Final = sa.select(CLOCK).scalar_subquery()
"""Asked once a statement. As a plain call it would be asked for each row, and no index could be searched by it."""


class Lease(NamedTuple):
    """The row that a worker holds, and the number of its claim: the fence."""

    key: tuple[Any, ...]
    fence: int


class Overdue(NamedTuple):
    """How many rows are due and nobody's, and for how many seconds the one that waits longest has been."""

    rows: int
    seconds: float


class Claimed(Protocol):
    """A piece of due work that is this worker's until its lease ends. ``attempts`` is what waits grow by, ``cause``
    what it follows from."""

    @property
    def lease(self) -> Lease: ...

    @property
    def attempts(self) -> int: ...

    @property
    def cause(self) -> Cause: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class DueWork:
    """One table of due work. ``open`` is the condition of rows that are not done with.

    ``answers`` are the columns that a claim gives; ``claiming`` what it writes beside the lease. ``moment`` is a column
    that says before when the row must not be due.
    """

    table: sa.Table
    answers: Sequence[sa.ColumnElement[Any]]
    lease_seconds: float
    backoff: Backoff
    open: sa.ColumnElement[bool] = field(default_factory=sa.true)
    due: str = "due_at"
    moment: str | None = None
    fence: str = "attempts"
    claiming: Mapping[str, Any] = field(default_factory=dict)

    async def claim(
        self, database: Database, limit: int, *, only: sa.ColumnElement[bool] | None = None, **values: Any
    ) -> list[Record]:
        """Takes rows whose time has come, those that wait longest first; at most ``limit``, and none twice.

        ``only`` is a further condition, and ``values`` are those of its parameters. Where the answer is lost, the rows
        may be leased to nobody: they are due again when the lease is over.
        """
        return await database.returning(*_claim(self, only)(limit=limit, **values))

    async def next_due(self, database: Database) -> float | None:
        """Seconds until the next row becomes due, leases that run out among them; None where there is none."""
        row = await database.fetchrow(*self._next_due())
        return row["seconds"] if row else None

    async def overdue(self, database: OneRow) -> Overdue:
        """What is due and nobody's, at most :data:`MOST_COUNTED` rows of it."""
        row = await database.fetchrow(*self._overdue())
        assert row is not None  # noqa: S101 - an aggregate always has its row
        return Overdue(*row)

    async def hasten(self, database: Database, ahead: float) -> None:
        """Has rows looked at now that would be in more than ``ahead`` seconds; those that are leased, when a lease of
        now ends. It is for after Postgres's clock was set back, by which all of them wait for that much longer.

        Fences stay as they are, so whoever is at a row settles it as ever.
        """
        await hasten_all(database, self._hasten, ahead)

    def change(self, values: Mapping[str, Any], *conditions: sa.ColumnElement[bool]) -> Statement:
        """A statement for :meth:`write`."""
        fence = self.table.c[self.fence] == sa.bindparam("held_fence")
        mine = [column == sa.bindparam(f"held_{column.name}") for column in self.table.primary_key]
        return Statement(sa.update(self.table).values(values).where(*mine, fence, self.open, *conditions))

    def holding(self, values: Mapping[str, Any], *conditions: sa.ColumnElement[bool]) -> Statement:
        """A statement for :meth:`write` that holds the row for another lease, unless the claim has ended.

        The fence alone would not tell: it is raised by the next claim, and one that was put off has none yet. A renewal
        that comes after that would keep the row from everybody, and nobody would be at it.
        """
        goes_on = self.table.c.leased_until.is_not(None)
        return self.change({**values, **self.lease}, goes_on, *conditions)

    def settling(self, values: Mapping[str, Any]) -> Statement:
        """A statement for :meth:`write` that ends the claim."""
        return self.change({"leased_until": sa.null(), **values})

    async def write(self, database: Database, claimed: Claimed, change: Statement, **values: Any) -> bool:
        """Changes a row that this worker holds; False, and no change, where another has claimed it since.

        Whoever was paused for longer than its lease finds the fence raised.
        """
        key, fence = claimed.lease
        held = {f"held_{column.name}": value for column, value in zip(self.table.primary_key, key, strict=True)}
        return await database.execute(*change(held_fence=fence, **held, **values)) == "UPDATE 1"

    async def put_off(self, database: Database, claimed: Claimed, error: str, wait: float | None = None) -> bool:
        """Ends a claim that came to nothing: the row is due again after ``wait`` seconds, or as the backoff says."""
        seconds = self.backoff.after(claimed.attempts) if wait is None else wait
        later = timedelta(seconds=seconds)
        return await self.write(database, claimed, self._put_off, error=storable(error), later=later)

    async def release(self, database: Database, claimed: Claimed) -> bool:
        """Ends a claim without a word: the row is due at once, for whoever comes."""
        return await self.write(database, claimed, self._release)

    async def renew(self, database: Database, claimed: Claimed) -> bool:
        """Holds the row for a whole lease from now on."""
        return await self.write(database, claimed, self._renew)

    @property
    def lease(self) -> Mapping[str, sa.ColumnElement[Any]]:
        """What is written to hold a row. The due time moves to the end of the lease too, so that the index finds no
        leased rows, and a release that knows no ``leased_until`` leaves them alone."""
        until = CLOCK + timedelta(seconds=self.lease_seconds)
        return {self.due: until, "leased_until": until}

    @property
    def is_due(self) -> sa.ColumnElement[bool]:
        """That a row's time has come, and nobody is at it."""
        leased_until = self.table.c.leased_until
        free = leased_until.is_(None) | (leased_until <= _now)
        return sa.and_(self.open, self.table.c[self.due] <= _now, free)

    @cached_property
    def _next_due(self) -> Statement:
        due = self.table.c[self.due]
        seconds = sa.cast(sa.extract("epoch", sa.func.min(due) - CLOCK), sa.Double)
        return Statement(sa.select(seconds.label("seconds")).where(self.open, due > _now))

    @cached_property
    def _overdue(self) -> Statement:
        due = self.table.c[self.due]
        rows = sa.select(due.label("due")).where(self.is_due).order_by(due).limit(inline(MOST_COUNTED)).subquery()
        late = sa.cast(sa.extract("epoch", CLOCK - sa.func.min(rows.c.due)), sa.Double)
        return Statement(sa.select(sa.func.count(), sa.func.coalesce(late, inline(0))).select_from(rows))

    @cached_property
    def _hasten(self) -> Statement:
        due, leased_until = self.table.c[self.due], self.table.c.leased_until
        moment = [] if self.moment is None else [self.table.c[self.moment]]
        lease_end = CLOCK + timedelta(seconds=self.lease_seconds)
        later = sa.or_(leased_until.is_(None), leased_until > _now + timedelta(seconds=self.lease_seconds))
        ends = sa.case((leased_until.is_not(None), lease_end))
        values = {self.due: sa.func.greatest(sa.func.coalesce(ends, CLOCK), *moment), "leased_until": ends}
        return hastening(self.table, due, values, self.open, later, *(due > each for each in moment))

    @cached_property
    def _put_off(self) -> Statement:
        later = CLOCK + sa.bindparam("later", type_=sa.Interval)
        return self.settling({"last_error": sa.bindparam("error"), self.due: later})

    @cached_property
    def _release(self) -> Statement:
        return self.settling({self.due: CLOCK})

    @cached_property
    def _renew(self) -> Statement:
        return self.holding({})


@lru_cache(maxsize=64)
def _claim(work: DueWork, only: sa.ColumnElement[bool] | None) -> Statement:
    table, conditions = work.table, [work.is_due, *([] if only is None else [only])]
    claimed = {work.fence: table.c[work.fence] + 1, **work.lease, **work.claiming}
    some = _some(table, table.c[work.due], sa.bindparam("limit"), conditions)
    return Statement(sa.update(table).values(claimed).where(*some).returning(*work.answers))


def hastening(
    table: sa.Table,
    due: sa.ColumnElement[Any],
    values: Mapping[str, sa.ColumnElement[Any]],
    *conditions: sa.ColumnElement[bool],
) -> Statement:
    """Writes the values into rows that are due in more than ``ahead``, at most :data:`MOST_HASTENED`."""
    later = due > _now + sa.bindparam("ahead", type_=sa.Interval)
    some = _some(table, due, inline(MOST_HASTENED), [later, *conditions])
    return Statement(sa.update(table).values(values).where(*some))


async def hasten_all(database: Database, statement: Statement, ahead: float) -> None:
    """Carries out a statement of :func:`hastening` until no row is left that it is about."""
    while await database.execute(*statement(ahead=timedelta(seconds=ahead))) == f"UPDATE {MOST_HASTENED}":
        pass


def _some(
    table: sa.Table,
    due: sa.ColumnElement[Any],
    limit: sa.ColumnElement[int],
    conditions: Sequence[sa.ColumnElement[bool]],
) -> Sequence[sa.ColumnElement[bool]]:
    """That it is one of the first rows of which that is so.

    Rows that another worker is at are passed over: it claims or settles them, and two that wait for each other's rows
    would never end.
    """
    keys = [column.label(f"key_{place}") for place, column in enumerate(table.primary_key)]
    waiting = sa.select(*keys).where(*conditions).order_by(due).limit(limit)
    free = waiting.with_for_update(skip_locked=True).cte("free")
    return [column == free.c[f"key_{place}"] for place, column in enumerate(table.primary_key)]


async def persisted(write: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Writes an outcome down, again and again while Postgres is away: to forget it would be to do the work twice.

    Where it was stored and only the answer was lost, the next time finds the claim ended, and changes nothing more.

    Raises ``TimeoutError`` after ``seconds``.
    """
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await write()
            except PASSING:
                await asyncio.sleep(random.uniform(0.05, 0.3))  # noqa: S311
