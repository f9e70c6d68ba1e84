"""Wishes for rebuilds: due work of the projections workers, and in the same row how far it is and what it came to.

::

    ask ─▶ due ──claim──▶ leased, and telling how far it is ──▶ done: a report, or an error
             ▲              │
             └── put off ───┴ given back at a drain, or its lease ran out
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import orjson

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.projections.projection import Projection
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database

WORK: Final = DueWork(
    table="rebuild_wishes",
    key=("wish_id",),
    open="done_at IS NULL",
    answers="wish_id, projection, attempts, failures",
    claiming="failures = failures + 1, seen_at = clock_timestamp(), last_error = NULL",
    lease_seconds=10.0,
    backoff=Backoff(longest=60.0),
)

MOST_FAILURES: Final = 5
"""A rebuild that fails, or ends its worker, so often is given up: it would go on doing so."""
KEPT: Final = "1 day"
"""How long it is remembered what came of a wish."""

_ASK: Final = f"""
WITH forgotten AS (DELETE FROM rebuild_wishes WHERE done_at < clock_timestamp() - interval '{KEPT}')
INSERT INTO rebuild_wishes (projection, code_version, wanted_by) VALUES ($1, $2, $3)
ON CONFLICT (projection, code_version) WHERE done_at IS NULL DO UPDATE SET wanted_by = rebuild_wishes.wanted_by
RETURNING wish_id
"""  # noqa: S608
_LOOK: Final = f"""
SELECT generation, read, passed, total, seen_at, done_at IS NOT NULL AS done, report, error, last_error,
       {WORK.open} AND due_at <= clock_timestamp() AS free
FROM rebuild_wishes WHERE wish_id = $1
"""  # noqa: S608


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
    row = await database.returning_row(_ASK, projection.name, projection.version, by)
    assert row is not None  # noqa: S101 - it writes one in any case
    wish_id: int = row["wish_id"]
    return wish_id


async def look(database: Database, wish_id: int) -> Standing | None:
    """How the wish stands; None where it is long forgotten."""
    row = await database.fetchrow(_LOOK, wish_id)
    if row is None:
        return None
    report = row["report"] and Report(**orjson.loads(row["report"]))
    return Standing(
        **{name: row[name] for name in ("generation", "read", "passed", "total", "free", "done")},
        report=report,
        error=row["error"] or row["last_error"],
    )


async def claim(
    database: Database, projections: Mapping[str, Projection[Any]], limit: int, *, only: str = "true"
) -> Sequence[Claimed]:
    """Takes wishes that nobody is at, at most so many, and none for a fold of another release."""
    known = ", ".join(f"('{each.name}', {each.version})" for each in projections.values())
    rows = await WORK.claim(database, limit, only=f"(projection, code_version) IN ({known}) AND {only}")
    return [Claimed(**row) for row in rows]


async def tell(database: Database, wish: Claimed, generation: int, read: int, passed: float, total: int) -> bool:
    """Writes how far it is, and holds the wish for another lease; False where another has claimed it since."""
    until = "clock_timestamp() + make_interval(secs => $5)"
    return await WORK.write(
        database,
        wish,
        f"generation = $1, read = $2, passed = $3, total = $4, seen_at = clock_timestamp(),"
        f" due_at = {until}, leased_until = {until}",
        generation,
        read,
        passed,
        total,
        WORK.lease_seconds,
    )


async def fulfilled(database: Database, wish: Claimed, report: Report) -> bool:
    """Writes down what it came to: nothing is left to be done."""
    return await WORK.settle(
        database,
        wish,
        "done_at = clock_timestamp(), read = $2, passed = total, report = $1::text::json",
        orjson.dumps(asdict(report)).decode(),
        report.read,
    )


async def given_up(database: Database, wish: Claimed, error: str) -> bool:
    """Writes down why it is not tried again."""
    return await WORK.settle(database, wish, "done_at = clock_timestamp(), error = $1", storable(error))


async def failed(database: Database, wish: Claimed, error: str) -> bool:
    """Puts the wish off, unless it has failed too often."""
    if wish.failures >= MOST_FAILURES:
        return await given_up(database, wish, error)
    return await WORK.put_off(database, wish, error)


async def give_back(database: Database, wish: Claimed) -> bool:
    """Leaves the wish to whoever comes, as if it had not been claimed."""
    return await WORK.settle(database, wish, "failures = failures - 1, due_at = clock_timestamp()")


async def withdraw(database: Database, wish_id: int, why: str) -> bool:
    """Ends a wish that nobody is at; answers whether it did."""
    done = await database.execute(
        f"UPDATE rebuild_wishes SET done_at = clock_timestamp(), error = $2 WHERE wish_id = $1 AND {WORK.open}"  # noqa: S608
        " AND leased_until IS NULL",
        wish_id,
        why,
    )
    return done == "UPDATE 1"
