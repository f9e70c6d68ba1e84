"""How the read models stand that are served: since when the log has gone on without them, and what is parked."""

from collections.abc import Collection
from typing import Any, Final

import sqlalchemy as sa

from infra.postgres.pool import Database, Reader
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.consumers import checkpoints, parked, projections
from infra.postgres.tables.log import events

LATE_SECONDS: Final = 10.0
"""A read model that is further behind is not only busy: a worker is missing, or something stands in its way."""

_unread: Final = (
    sa.select(events.c.recorded_at)
    .where(events.c.shard == checkpoints.c.shard, events.c.position > checkpoints.c.position)
    .order_by(events.c.position)
    .limit(1)
    .lateral("unread")
)
_behind: Final = sa.extract("epoch", CLOCK - sa.func.min(_unread.c.recorded_at))

LAGS: Final = (
    sa.select(
        projections.c.name,
        sa.cast(sa.func.greatest(sa.func.coalesce(_behind, inline(0)), inline(0)), sa.Double).label("seconds"),
    )
    .select_from(
        projections.join(
            checkpoints,
            sa.and_(
                checkpoints.c.consumer == projections.c.name, checkpoints.c.generation == projections.c.live_generation
            ),
        ).outerjoin(_unread, sa.true())
    )
    .group_by(projections.c.name)
)
"""Of each read model how old the oldest event is that its rows do not have yet: 0 if they have all."""

PARKED: Final = (
    sa.select(
        parked.c.consumer,
        sa.func.count().label("streams"),
        sa.func.count().filter(parked.c.unknown).label("held"),
    )
    .outerjoin(projections, projections.c.name == parked.c.consumer)
    .where(parked.c.generation == sa.func.coalesce(projections.c.live_generation, inline(0)))
    .group_by(parked.c.consumer)
)
"""How many streams each consumer has set aside, if any; those of generations that are no longer served do not count."""

_LAGS: Final = Statement(LAGS)
_PARKED: Final = Statement(PARKED)


async def aside(database: Reader) -> tuple[dict[str, int], dict[str, int]]:
    """How many streams each consumer has parked, if any, and how many of them only wait for a newer release."""
    rows = await database.fetch(*_PARKED())
    return {row["consumer"]: row["streams"] - row["held"] for row in rows}, {
        row["consumer"]: row["held"] for row in rows
    }


async def report(database: Database, names: Collection[str]) -> dict[str, Any]:
    """Whether these read models keep up, and whether anything is parked: for who looks after them.

    Raises :class:`~infra.errors.Unavailable`.
    """
    lags = {row["name"]: row["seconds"] for row in await database.fetch(*_LAGS())}
    parked_streams = {row["consumer"]: row["streams"] for row in await database.fetch(*_PARKED())}
    late = sorted(name for name in names if lags.get(name, LATE_SECONDS) >= LATE_SECONDS)
    return {
        "status": "degraded" if late or parked_streams else "ok",
        "late": late,
        "lag_seconds": round(max(lags.values(), default=0.0), 3),
        "parked_streams": parked_streams,
    }
