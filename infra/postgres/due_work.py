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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from asyncpg import Record

from infra.concurrency.backoff import Backoff
from infra.postgres.errors import PASSING, storable
from infra.postgres.pool import Database

T = TypeVar("T")

MOST_COUNTED: Final = 500

_NOW: Final = "(SELECT clock_timestamp())"
"""Asked once a statement. As a plain call it would be asked for each row, and no index could be searched by it."""


class Lease(NamedTuple):
    """The row that a worker holds, and the number of its claim: the fence."""

    key: tuple[Any, ...]
    fence: int


class Claimed(Protocol):
    """A piece of due work that is this worker's until its lease ends. ``attempts`` is what waits grow by."""

    @property
    def lease(self) -> Lease: ...

    @property
    def attempts(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class DueWork:
    """One table of due work. ``open`` is the SQL condition of rows that are not done with.

    ``answers`` are the columns that a claim gives; ``claiming`` what it writes beside the lease.
    """

    table: str
    key: tuple[str, ...]
    open: str
    answers: str
    lease_seconds: float
    backoff: Backoff
    due: str = "due_at"
    fence: str = "attempts"
    claiming: str = ""

    async def claim(self, database: Database, limit: int, *, only: str = "true") -> list[Record]:
        """Takes rows whose time has come, those that wait longest first; at most ``limit``, and none twice.

        Rows that another worker is at are passed over: it claims or settles them, and two that wait for each other's
        rows would never end. The due time moves to the end of the lease too, so that the index finds no leased rows,
        and a release that knows no ``leased_until`` leaves them alone.

        Where the answer is lost, the rows may be leased to nobody: they are due again when the lease is over.
        """
        keys = ", ".join(f"{name} AS key_{place}" for place, name in enumerate(self.key))
        same = " AND ".join(f"w.{name} = free.key_{place}" for place, name in enumerate(self.key))
        until = "clock_timestamp() + make_interval(secs => $2)"
        return await database.returning(
            f"WITH free AS (SELECT {keys} FROM {self.table} WHERE {self.open} AND ({only}) AND {self.due} <= {_NOW}"  # noqa: S608
            f" AND (leased_until IS NULL OR leased_until <= {_NOW})"
            f" ORDER BY {self.due} LIMIT $1 FOR UPDATE SKIP LOCKED)"
            f" UPDATE {self.table} w SET {self.fence} = {self.fence} + 1, {self.due} = {until}, leased_until = {until}"
            f"{', ' if self.claiming else ''}{self.claiming} FROM free WHERE {same} RETURNING {self.answers}",
            limit,
            self.lease_seconds,
        )

    async def next_due(self, database: Database) -> float | None:
        """Seconds until the next row becomes due, leases that run out among them; None where there is none."""
        row = await database.fetchrow(
            f"SELECT extract(epoch FROM min({self.due}) - clock_timestamp())::double precision AS seconds"  # noqa: S608
            f" FROM {self.table} WHERE {self.open} AND {self.due} > {_NOW}"
        )
        return row["seconds"] if row else None

    async def overdue(self, database: Database) -> int:
        """How many rows are due and nobody's, at most :data:`MOST_COUNTED`."""
        rows = await database.fetch(
            f"SELECT FROM {self.table} WHERE {self.open} AND {self.due} <= {_NOW}"
            f" AND (leased_until IS NULL OR leased_until <= {_NOW}) LIMIT $1",
            MOST_COUNTED,
        )
        return len(rows)

    async def write(
        self, database: Database, claimed: Claimed, change: str, *values: Any, condition: str = "true"
    ) -> bool:
        """Changes a row that this worker holds; False, and no change, where another has claimed it since.

        Whoever was paused for longer than its lease finds the fence raised. ``change`` numbers its values from $1.
        """
        key, fence = claimed.lease
        mine = " AND ".join(
            f"{name} = ${number}" for number, name in enumerate((*self.key, self.fence), len(values) + 1)
        )
        done = await database.execute(
            f"UPDATE {self.table} SET {change} WHERE {mine} AND {self.open} AND {condition}",  # noqa: S608
            *values,
            *key,
            fence,
        )
        return done == "UPDATE 1"

    async def settle(self, database: Database, claimed: Claimed, change: str, *values: Any) -> bool:
        """Writes what came of a claim, and ends it; False as :meth:`write`."""
        return await self.write(database, claimed, f"leased_until = NULL, {change}", *values)

    async def put_off(self, database: Database, claimed: Claimed, error: str, wait: float | None = None) -> bool:
        """Ends a claim that came to nothing: the row is due again after ``wait`` seconds, or as the backoff says."""
        return await self.settle(
            database,
            claimed,
            f"last_error = $1, {self.due} = clock_timestamp() + make_interval(secs => $2)",
            storable(error),
            self.backoff.after(claimed.attempts) if wait is None else wait,
        )

    async def release(self, database: Database, claimed: Claimed) -> bool:
        """Ends a claim without a word: the row is due at once, for whoever comes."""
        return await self.settle(database, claimed, f"{self.due} = clock_timestamp()")

    async def renew(self, database: Database, claimed: Claimed) -> bool:
        """Holds the row for a whole lease from now on."""
        until = "clock_timestamp() + make_interval(secs => $1)"
        return await self.write(database, claimed, f"{self.due} = {until}, leased_until = {until}", self.lease_seconds)


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
