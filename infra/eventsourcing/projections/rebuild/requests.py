"""Wishes for rebuilds: due work of the projections workers, and in the same row how far it is and what it came to.

::

    ask ─▶ due ──claim──▶ leased, and telling how far it is ──▶ done: a report, or an error
             ▲              │
             └── put off ───┴ given back at a drain, or its lease ran out
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.projections.projection import Projection
from infra.observability.origin import Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK, Statement, given_rows
from infra.postgres.tables.consumers import rebuild_wishes

MOST_FAILURES: Final = 5
"""A rebuild that fails, or ends its worker, so often is given up: it would go on doing so."""
KEPT: Final = timedelta(days=1)
"""How long it is remembered what came of a wish."""

_wish: Final = rebuild_wishes.c
_is_open: Final = _wish.done_at.is_(None)
_is_it: Final = _wish.wish_id == sa.bindparam("wish")

WORK: Final = DueWork(
    table=rebuild_wishes,
    open=_is_open,
    answers=(_wish.wish_id, _wish.projection, _wish.attempts, _wish.failures),
    claiming={"failures": _wish.failures + 1, "seen_at": CLOCK, "last_error": sa.null(), "generation": sa.null()},
    lease_seconds=10.0,
    backoff=Backoff(longest=60.0),
)

_known: Final = given_rows("known", projection=sa.Text(), code_version=sa.Integer())
_OURS: Final = sa.tuple_(_wish.projection, _wish.code_version).in_(
    sa.select(_known.c.projection, _known.c.code_version)
)
_OURS_AND_IT: Final = _OURS & _is_it


def _ask() -> Statement:
    forgotten = sa.delete(rebuild_wishes).where(_wish.done_at < CLOCK - KEPT).cte("forgotten")
    names = ("projection", "code_version", "wanted_by")
    asked = insert(rebuild_wishes).values({name: sa.bindparam(name) for name in names})
    one = asked.on_conflict_do_update(
        index_elements=["projection", "code_version"], index_where=_is_open, set_={"wanted_by": _wish.wanted_by}
    )
    return Statement(one.returning(_wish.wish_id).add_cte(forgotten))


_told: Final = (_wish.generation, _wish.read, _wish.passed, _wish.total, _wish.seen_at)
_ASK: Final = _ask()
_LOOK: Final = Statement(
    sa.select(
        *_told,
        _wish.done_at.is_not(None).label("done"),
        _wish.report,
        _wish.error,
        _wish.last_error,
        (_is_open & (_wish.due_at <= CLOCK)).label("free"),
    ).where(_is_it)
)
_TELL: Final = WORK.holding({**{column.name: sa.bindparam(column.name) for column in _told[:4]}, "seen_at": CLOCK})
_STARTING: Final = WORK.holding({}, _wish.generation.is_(None))
_FULFILLED: Final = WORK.settling(
    {"done_at": CLOCK, "read": sa.bindparam("read"), "passed": _wish.total, "report": sa.bindparam("report")}
)
_GIVEN_UP: Final = WORK.settling({"done_at": CLOCK, "error": sa.bindparam("error")})
_GIVE_BACK: Final = WORK.settling({"failures": _wish.failures - 1, "due_at": CLOCK})
_WITHDRAW: Final = Statement(
    sa.update(rebuild_wishes)
    .values(done_at=CLOCK, error=sa.bindparam("error"))
    .where(_is_it, _is_open, _wish.leased_until.is_(None))
)


class Claimed(NamedTuple):
    """A wish that this worker is to fulfil, until its lease ends. ``attempts`` is the fence.

    ``failures`` are the attempts that came to nothing, this one among them until it comes to something.
    """

    wish_id: int
    projection: str
    attempts: int
    failures: int

    @property
    def lease(self) -> Lease:
        return Lease((self.wish_id,), self.attempts)

    @property
    def cause(self) -> Cause:
        return Cause(causation=f"rebuild:{self.projection}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a rebuild has come to."""

    generation: int
    retired: int
    rows: int
    read: int
    caught_up: int
    parked: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a wish stands. ``passed`` positions of the log, of ``total``, are behind it; ``free``: nobody is at it."""

    generation: int | None
    read: int
    passed: float
    total: int | None
    free: bool
    done: bool
    report: Report | None
    error: str | None


async def ask(database: Database, projection: Projection[Any], by: str) -> int:
    """Asks for a rebuild by this release's fold; answers which wish it is: that of others, where it is not done yet."""
    row = await database.returning_row(*_ASK(projection=projection.name, code_version=projection.version, wanted_by=by))
    assert row is not None  # noqa: S101 - it writes one in any case
    wish_id: int = row["wish_id"]
    return wish_id


async def look(database: Database, wish_id: int) -> Standing | None:
    """How the wish stands; None where it is long forgotten."""
    row = await database.fetchrow(*_LOOK(wish=wish_id))
    if row is None:
        return None
    report = row["report"] and Report(**orjson.loads(row["report"]))
    return Standing(
        **{name: row[name] for name in ("generation", "read", "passed", "total", "free", "done")},
        report=report,
        error=row["error"] or row["last_error"],
    )


async def claim(
    database: Database, projections: Mapping[str, Projection[Any]], limit: int, *, wish_id: int | None = None
) -> Sequence[Claimed]:
    """Takes wishes that nobody is at, at most so many, and none for a fold of another release; or that one of them."""
    names, versions = [each.name for each in projections.values()], [each.version for each in projections.values()]
    only, wish = (_OURS, {}) if wish_id is None else (_OURS_AND_IT, {"wish": wish_id})
    rows = await WORK.claim(database, limit, only=only, projection=names, code_version=versions, **wish)
    return [Claimed(**row) for row in rows]


async def tell(database: Database, wish: Claimed, generation: int, read: int, passed: float, total: int) -> bool:
    """Writes how far it is, and holds the wish for another lease; False where another has claimed it since."""
    return await WORK.write(database, wish, _TELL, generation=generation, read=read, passed=passed, total=total)


async def starting(database: Database, wish: Claimed) -> bool:
    """Holds the wish for another lease while nothing is told of it; False once it is, or another has claimed it."""
    return await WORK.write(database, wish, _STARTING)


async def fulfilled(database: Database, wish: Claimed, report: Report) -> bool:
    """Writes down what it came to: nothing is left to be done."""
    return await WORK.write(database, wish, _FULFILLED, read=report.read, report=orjson.dumps(asdict(report)))


async def given_up(database: Database, wish: Claimed, error: str) -> bool:
    """Writes down why it is not tried again."""
    return await WORK.write(database, wish, _GIVEN_UP, error=storable(error))


async def failed(database: Database, wish: Claimed, error: str) -> bool:
    """Puts the wish off, unless it has failed too often."""
    if wish.failures >= MOST_FAILURES:
        return await given_up(database, wish, error)
    return await WORK.put_off(database, wish, error)


async def give_back(database: Database, wish: Claimed) -> bool:
    """Leaves the wish to whoever comes, as if it had not been claimed."""
    return await WORK.write(database, wish, _GIVE_BACK)


async def withdraw(database: Database, wish_id: int, why: str) -> bool:
    """Ends a wish that nobody is at; answers whether it did."""
    return await database.execute(*_WITHDRAW(wish=wish_id, error=why)) == "UPDATE 1"
