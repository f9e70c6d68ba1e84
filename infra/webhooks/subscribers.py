"""Subscribers as rows: who hears of which events, where, under which secrets. One consumer of the log writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.eventsourcing.event_log import Session
from infra.postgres.statements import CLOCK, Statement
from infra.postgres.tables.webhooks import delivery_is_due, webhook_deliveries, webhook_subscribers

MOST_SECRETS: Final = 4
"""Secrets that sign at once, where somebody rotates again and again."""
OLD_SIGNS: Final = timedelta(hours=24)


class Signer(NamedTuple):
    """A secret by its id, and until when it signs; None for the one that counts."""

    secret_id: UUID
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Subscriber:
    """Where a webhook leads, and whether anything is sent there: that is up to its owner, and to what the owner may."""

    webhook_id: UUID
    account_id: UUID
    url: str = field(repr=False)
    event_types: tuple[str, ...]
    signers: tuple[Signer, ...]
    active: bool = True
    owner_active: bool = True
    owner_entitled: bool = True

    @property
    def hears(self) -> bool:
        """Whether it is told anything."""
        return self.active and self.owner_active and self.owner_entitled

    def rotated(self, secret_id: UUID, at: datetime) -> "Subscriber":
        """With another secret from then on. The old one signs beside it for a day."""
        current, *older = self.signers
        kept = [signer for signer in older if signer.until is not None and signer.until > at]
        signers = [Signer(secret_id), Signer(current.secret_id, at + OLD_SIGNS), *kept]
        return replace(self, signers=tuple(signers[:MOST_SECRETS]))


_row: Final = webhook_subscribers.c
_given: Final = (
    "webhook_id",
    "account_id",
    "url",
    "event_types",
    "secrets",
    "active",
    "owner_active",
    "owner_entitled",
)


def _store() -> Statement:
    put = insert(webhook_subscribers).values({name: sa.bindparam(name) for name in _given})
    told = {name: put.excluded[name] for name in _given if name != "webhook_id"}
    # What was learnt of another address, or before it was active again, says nothing of now.
    changed = {**told, "failures": 0, "last_error": sa.null(), "due_at": CLOCK, "news": _row.news + 1}
    return Statement(put.on_conflict_do_update(index_elements=["webhook_id"], set_=changed))


_ALL: Final = Statement(sa.select(*[_row[name] for name in _given]))
_STORE: Final = _store()
_MOVE: Final = Statement(
    sa.update(webhook_subscribers)
    .values(claims=_row.claims + 1, leased_until=sa.null())
    .where(_row.webhook_id == sa.bindparam("webhook"), _row.url != sa.bindparam("to"))
)
_ANEW: Final = Statement(
    sa.update(webhook_deliveries)
    .values(due_at=CLOCK, tried_since=CLOCK)
    .where(webhook_deliveries.c.webhook_id == sa.bindparam("webhook"), delivery_is_due)
)
_FORGET: Final = Statement(sa.delete(webhook_subscribers).where(_row.webhook_id == sa.bindparam("webhook")))


async def known(session: Session) -> dict[UUID, Subscriber]:
    """All of them: an account has few, and few accounts have any."""
    found = (_subscriber(row) for row in await session.fetch(*_ALL()))
    return {each.webhook_id: each for each in found}


async def store(session: Session, changed: Mapping[UUID, Subscriber | None]) -> None:
    """Writes what has changed, in the caller's transaction; None ends one, and all that was sent to it goes too."""
    for webhook_id, subscriber in sorted(changed.items()):
        if subscriber is None:
            await session.execute(*_FORGET(webhook=webhook_id))
        else:
            await _move(session, subscriber)
            await session.execute(*_STORE(**_written(subscriber)))


async def _move(session: Session, subscriber: Subscriber) -> None:
    """Ends the claim of whoever is still sending to another address: whatever that answers now holds up nobody.

    What is owed begins anew here, at once and for a whole day.
    """
    if await session.execute(*_MOVE(webhook=subscriber.webhook_id, to=subscriber.url)) == "UPDATE 1":
        await session.execute(*_ANEW(webhook=subscriber.webhook_id))


def signers_of(secrets: bytes) -> tuple[Signer, ...]:
    """The secrets of a row, the one that counts first."""
    told = orjson.loads(secrets)
    return tuple(Signer(UUID(each), until and datetime.fromisoformat(until)) for each, until in told)


def _subscriber(row: Any) -> Subscriber:
    told = {name: row[name] for name in _given if name != "secrets"}
    return Subscriber(**{**told, "event_types": tuple(row["event_types"]), "signers": signers_of(row["secrets"])})


def _written(subscriber: Subscriber) -> dict[str, Any]:
    told = {name: getattr(subscriber, name) for name in _given if name != "secrets"}
    return {**told, "event_types": [*subscriber.event_types], "secrets": _secrets(subscriber)}


def _secrets(subscriber: Subscriber) -> bytes:
    return orjson.dumps([[signer.secret_id, signer.until] for signer in subscriber.signers])
