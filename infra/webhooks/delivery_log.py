"""The log of deliveries: what was sent is sent again when its owner asks, and forgotten after a month."""

from datetime import timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from asyncpg import Record

from infra.eventsourcing.event_log import Session
from infra.postgres.due_work import hasten_all, hastening
from infra.postgres.pool import Database
from infra.postgres.retention import Retention
from infra.postgres.statements import CLOCK, Statement
from infra.postgres.tables.webhooks import delivery_is_due, hears, webhook_deliveries, webhook_subscribers
from infra.webhooks import outbox

KEPT_FOR: Final = timedelta(days=30)

Again: TypeAlias = Literal["due", "inactive", "unknown"]

_delivery: Final = webhook_deliveries.c
_subscriber: Final = webhook_subscribers.c
_its: Final = _delivery.delivery_id == sa.bindparam("delivery")
_found: Final = (
    sa.select(_subscriber.webhook_id, hears.label("hears"))
    .join_from(webhook_subscribers, webhook_deliveries, _subscriber.webhook_id == _delivery.webhook_id)
    .where(_its)
    .with_for_update(of=webhook_subscribers)
)
_OF_OWNER: Final = Statement(
    _found.where(
        _subscriber.webhook_id == sa.bindparam("webhook"),
        _subscriber.account_id == sa.bindparam("owner"),
    )
)
_ANYBODYS: Final = Statement(_found)
_AGAIN: Final = Statement(
    sa.update(webhook_deliveries).values(state="due", due_at=CLOCK, tried_since=CLOCK, settled_at=sa.null()).where(_its)
)
_HASTEN: Final = hastening(webhook_deliveries, _delivery.due_at, {"due_at": CLOCK}, delivery_is_due)
OLD: Final = Retention(table=webhook_deliveries, since=_delivery.settled_at)
"""What was settled, by when that was."""


async def send_again(session: Session, owner: UUID, webhook_id: UUID, delivery_id: UUID) -> Again:
    """Makes a delivery of somebody's webhook due at once, whatever became of it, in the caller's transaction."""
    found = await session.fetchrow(*_OF_OWNER(owner=owner, webhook=webhook_id, delivery=delivery_id))
    return await _again(session, found, delivery_id)


async def retry(database: Database, delivery_id: UUID) -> Again:
    """The same of any delivery, for an operator."""
    async with database.write() as session:
        return await _again(session, await session.fetchrow(*_ANYBODYS(delivery=delivery_id)), delivery_id)


async def _again(session: Session, found: Record | None, delivery_id: UUID) -> Again:
    # The subscriber's row before that of the delivery, and until the commit: it cannot be deactivated in between.
    if found is None:
        return "unknown"
    if not found["hears"]:
        return "inactive"
    await session.execute(*_AGAIN(delivery=delivery_id))
    await outbox.ring_at_once(session, found["webhook_id"])
    return "due"


async def hasten(database: Database, ahead: float) -> None:
    """The same as that of subscribers (:meth:`infra.postgres.due_work.DueWork.hasten`), who are to be told after it."""
    await hasten_all(database, _HASTEN, ahead)
