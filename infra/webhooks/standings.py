"""How subscribers stand: who is owed something, since when, and what stands in its way. For operators."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import orjson
import sqlalchemy as sa

from infra.postgres.pool import Database
from infra.postgres.reader import OneRow
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.webhooks import delivery_is_due, hears, webhook_deliveries, webhook_subscribers
from infra.webhooks.outbox import State

MOST_COUNTED: Final = 1_000
"""More than so many that are owed are not counted: somebody may have been away for long."""

_delivery: Final = webhook_deliveries.c
_subscriber: Final = webhook_subscribers.c


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A subscriber. ``oldest`` is when the first of what it is owed became due, ``due_at`` when it is seen to next.

    ``alone``: nothing is sent to it before that, for what ``error`` says.
    """

    webhook_id: UUID
    account_id: UUID
    url: str = field(repr=False)
    state: str
    failures: int
    owed: int
    oldest: datetime | None
    due_at: datetime | None
    alone: bool
    error: str | None

    @property
    def host(self) -> str:
        """Of the URL, whose path and query are nobody's but its owner's."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A delivery, and what was ``said`` to its last attempt: a status, or why there was none."""

    delivery_id: UUID
    type: str
    position: int
    state: State
    attempts: int
    created_at: datetime
    due_at: datetime | None
    said: str


class Total(NamedTuple):
    """All of them together: for how many seconds the oldest has been owed, 0.0 for nothing; how many are left alone."""

    oldest: float
    alone: int


_its: Final = (_delivery.webhook_id == _subscriber.webhook_id, delivery_is_due)
_oldest: Final = sa.select(_delivery.created_at).where(*_its).order_by(_delivery.position).limit(1).scalar_subquery()
_alone: Final = sa.and_(hears, _subscriber.last_error.is_not(None), _subscriber.due_at > CLOCK)


def _standings() -> Statement:
    some = sa.select(_delivery.position).where(*_its).limit(inline(MOST_COUNTED)).correlate(webhook_subscribers)
    owed = sa.select(sa.func.count()).select_from(some.lateral()).scalar_subquery()
    state = sa.case(
        (~_subscriber.active, inline("deactivated")),
        (~_subscriber.owner_active, inline("owner deactivated")),
        (~_subscriber.owner_entitled, inline("owner not entitled")),
        else_=inline("active"),
    )
    return Statement(
        sa.select(
            *(_subscriber[name] for name in ("webhook_id", "account_id", "url", "failures", "due_at")),
            state.label("state"),
            owed.label("owed"),
            _oldest.label("oldest"),
            sa.func.coalesce(_alone, sa.false()).label("alone"),
            _subscriber.last_error.label("error"),
        )
        .order_by(_oldest.asc().nulls_last(), _subscriber.webhook_id)
        .limit(sa.bindparam("limit"))
    )


def _total() -> Statement:
    each = sa.select(_oldest.label("oldest"), _alone.label("alone")).where(hears).subquery()
    seconds = sa.cast(sa.extract("epoch", CLOCK - sa.func.min(each.c.oldest)), sa.Double)
    return Statement(sa.select(sa.func.coalesce(seconds, 0.0), sa.func.count().filter(each.c.alone)))


_STANDINGS: Final = _standings()
_TOTAL: Final = _total()
_newest: Final = (
    sa.select(
        *(_delivery[name] for name in ("delivery_id", "type", "position", "state", "attempts", "created_at")),
        sa.case((delivery_is_due, _delivery.due_at)).label("due_at"),
        _delivery.answers[-1].label("last"),
    )
    .where(_delivery.webhook_id == sa.bindparam("webhook"))
    .order_by(_delivery.position.desc())
    .limit(sa.bindparam("limit"))
)
_ALL: Final = Statement(_newest)
_OF_STATE: Final = Statement(_newest.where(_delivery.state == sa.bindparam("state")))


async def subscribers(database: Database, limit: int) -> Sequence[Standing]:
    """Those who have waited longest for something come first, those who are owed nothing last."""
    return [Standing(**row) for row in await database.fetch(*_STANDINGS(limit=limit))]


async def total(database: OneRow) -> Total:
    """Of all that hear."""
    row = await database.fetchrow(*_TOTAL())
    assert row is not None  # noqa: S101 - an aggregate always has its row
    return Total(*row)


async def deliveries(database: Database, webhook_id: UUID, limit: int, state: State | None = None) -> Sequence[Sent]:
    """What a subscriber was sent or is owed, the newest event first."""
    asked = {"webhook": webhook_id, "limit": limit}
    rows = await database.fetch(*(_ALL(**asked) if state is None else _OF_STATE(state=state, **asked)))
    return [_sent(row) for row in rows]


def _sent(row: Any) -> Sent:
    told = dict(row)
    last = told.pop("last")
    return Sent(**told, said="" if last is None else _said(orjson.loads(last)))


def _said(answer: Any) -> str:
    return answer["error"] or f"HTTP {answer['status']}"
