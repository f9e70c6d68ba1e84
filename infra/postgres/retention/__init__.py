"""Retention: rows that are kept for a while and then deleted, oldest first, a bounded number with each statement.

Each table of which rows go says so in one :class:`Retention`; ``workers.upkeep.cleanup`` carries all of them out.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa

from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK, TIMESTAMPTZ, Sent, Statement

LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)

_ctid: Final[sa.ColumnElement[Any]] = sa.literal_column("ctid")
_now: Final = sa.select(CLOCK).scalar_subquery()
"""Asked once a statement, or no index could be searched by it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Retention:
    """Which rows of a table go, and when. ``since`` is the time from which a row is kept, and there is an index by it;
    ``over`` is what else must be so of a row that goes.

    ``at_once`` rows are deleted by one statement, which should be over in some tens of milliseconds.
    """

    table: sa.Table
    since: sa.ColumnElement[Any]
    over: sa.ColumnElement[bool] = field(default_factory=sa.true)
    at_once: int = 5_000

    def forgetting(self, kept: timedelta, since: datetime = LONG_AGO, *, at_once: int | None = None) -> Sent:
        """The statement that deletes the first rows after ``since`` that were kept for long enough."""
        return self._forget(kept=kept, first=since, limit=at_once or self.at_once)

    @cached_property
    def _forget(self) -> Statement:
        long_ago = self.since < _now - sa.bindparam("kept", type_=sa.Interval)
        after = self.since >= sa.bindparam("first", type_=TIMESTAMPTZ)
        some = sa.select(_ctid.label("place"), self.since.label("since")).select_from(self.table)
        some = some.where(after, long_ago, self.over).order_by(self.since).limit(sa.bindparam("limit"))
        old = some.with_for_update(skip_locked=True).cte("old")
        places = sa.func.array(sa.select(old.c.place).scalar_subquery())
        gone = sa.delete(self.table).where(_ctid == sa.any_(places)).cte("gone")
        count, newest = sa.func.count().label("forgotten"), sa.func.max(old.c.since).label("newest")
        return Statement(sa.select(count, newest).select_from(old).add_cte(gone))


class Sweep:
    """One sweep of a table, step by step. Of two at once each passes over what the other is deleting."""

    def __init__(self, retention: Retention, kept: timedelta, *, at_once: int | None = None) -> None:
        self._retention = retention
        self._kept = kept
        self._at_once = at_once or retention.at_once
        # Each statement goes on from where the last one ended: what that has deleted stands in the index until a
        # vacuum, and would be walked over again.
        self._since = LONG_AGO
        self.forgotten = 0

    async def step(self, database: Database) -> bool:
        """Deletes some rows; answers whether there may be more."""
        statement = self._retention.forgetting(self._kept, self._since, at_once=self._at_once)
        done = await database.returning_row(*statement)
        if done is None or not done["forgotten"]:
            return False
        self.forgotten += done["forgotten"]
        self._since = done["newest"]
        return bool(done["forgotten"] == self._at_once)


async def forget(database: Database, retention: Retention, kept: timedelta) -> int:
    """Deletes all that were kept for long enough; answers how many."""
    sweep = Sweep(retention, kept)
    while await sweep.step(database):
        pass
    return sweep.forgotten
