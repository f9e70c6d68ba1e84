"""The outbox of webhooks: one row per event and subscriber, and each subscriber as a piece of due work.

::

    due ──attempt──▶ delivered
     ▲        ├────▶ failed      a day after it became due; an operator of the subscriber may have it sent again
     └─ later ┴────▶ dropped     the webhook was deactivated, or its subscriber said 410

A worker claims a subscriber, not a row, and sends it the first due row of each stream. Of a stream the next row waits
until the one before it is settled, so that each subscriber hears of a thing in the order in which it happened.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID, uuid5

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_causes import cause_columns, with_cause
from infra.eventsourcing.event_log import Session
from infra.observability.origin import UNKNOWN, Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database
from infra.postgres.statements import CLOCK, Statement, any_of, given_rows, inline
from infra.postgres.tables.webhooks import delivery_is_due, hears, webhook_deliveries, webhook_subscribers
from infra.webhooks.subscribers import Signer, signers_of

TRIED_FOR: Final = timedelta(hours=24)
MOST_ANSWERS: Final = 10

RETRY: Final = Backoff(first=5.0, longest=7200.0)
"""Of one delivery: some twenty attempts in a day."""

_delivery: Final = webhook_deliveries.c
_subscriber: Final = webhook_subscribers.c

WORK: Final = DueWork(
    table=webhook_subscribers,
    open=hears,
    answers=(
        _subscriber.webhook_id,
        _subscriber.url,
        _subscriber.secrets,
        _subscriber.claims,
        _subscriber.failures,
        _subscriber.news,
    ),
    fence="claims",
    lease_seconds=60.0,
    backoff=Backoff(first=5.0, factor=2.0, longest=600.0),
)
"""The lease is longer than a turn and the last attempt of it. The waits are those of an open circuit."""

State: TypeAlias = Literal["due", "delivered", "failed", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Owed:
    """A delivery to be written down: what is said of an event, to whom."""

    webhook_id: UUID
    position: int
    moment: datetime
    stream_id: UUID
    type: str
    body: str = field(repr=False)
    correlation: str | None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A subscriber whom this worker sees to, until its lease ends. ``failures`` are attempts in a row that failed."""

    webhook_id: UUID
    url: str = field(repr=False)
    signers: tuple[Signer, ...]
    claims: int
    failures: int
    news: int

    @property
    def lease(self) -> Lease:
        return Lease((self.webhook_id,), self.claims)

    @property
    def attempts(self) -> int:
        """What waits grow by."""
        return self.failures + 1

    @property
    def cause(self) -> Cause:
        """Of all that it is owed no single one."""
        return Cause(causation=f"webhook:{self.webhook_id}")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A delivery that is due. Its id is its ``webhook-id``, the same at every attempt."""

    delivery_id: UUID
    type: str
    body: str = field(repr=False)
    correlation: str | None
    attempts: int
    answers: Sequence[Mapping[str, Any]]
    due_at: datetime
    over: bool
    """Whether it is given up if it fails once more."""
    cause: Cause = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended, and what of it is kept. ``wait``: the subscriber wants no other for so many seconds."""

    state: State
    answer: Mapping[str, Any]
    wait: float | None = None


def _heads(now: sa.ColumnElement[datetime] | None) -> sa.Select[Any]:
    """The first row that is due of each stream of a subscriber."""
    earlier = webhook_deliveries.alias("earlier")
    waits = sa.exists().where(
        earlier.c.webhook_id == _delivery.webhook_id,
        earlier.c.stream_id == _delivery.stream_id,
        earlier.c.position < _delivery.position,
        earlier.c.state == inline("due"),
    )
    its = _delivery.webhook_id == sa.bindparam("webhook")
    past = () if now is None else (_delivery.due_at <= now,)
    return sa.select().where(its, delivery_is_due, *past, ~waits)


def _write() -> Statement:
    names = ("delivery_id", "webhook_id", "position", "stream_id", "type", "body", "correlation")
    rows = given_rows("owed", **{name: webhook_deliveries.c[name].type for name in names})
    new = insert(webhook_deliveries).from_select(names, sa.select(rows))
    once = new.on_conflict_do_nothing(index_elements=["webhook_id", "position"])
    return Statement(once.returning(_delivery.webhook_id))


def _settling(values: Mapping[str, Any], *seen: sa.ColumnElement[bool]) -> Statement:
    """What came of an attempt, in its row, while that is as it was ``seen``."""
    told = {"attempts": _delivery.attempts + 1, "answers": sa.bindparam("answers", type_=JSONB)}
    its = _delivery.delivery_id == sa.bindparam("delivery")
    return Statement(sa.update(webhook_deliveries).values({**values, **told}).where(its, delivery_is_due, *seen))


_now: Final = sa.select(CLOCK).scalar_subquery()
# An answer says nothing any more of what was made due anew: for another address, or because somebody asked for it.
_seen: Final = (_delivery.attempts == sa.bindparam("seen"), _delivery.due_at == sa.bindparam("seen_due"))
_held: Final = sa.exists().where(
    _subscriber.webhook_id == sa.bindparam("webhook"), _subscriber.claims == sa.bindparam("claim")
)
_too_old: Final = _delivery.tried_since < CLOCK - TRIED_FOR
_next: Final = _heads(None).add_columns(sa.func.min(_delivery.due_at)).scalar_subquery()
_at_rest: Final = sa.case((_subscriber.news == sa.bindparam("seen_news"), _next), else_=CLOCK)

_WRITE: Final = _write()
# Whoever is left alone for a while has an error, and stays alone: events come all the time.
_soon: Final = sa.case((_subscriber.last_error.is_(None), CLOCK), else_=_subscriber.due_at)
_RING: Final = Statement(
    sa.update(webhook_subscribers)
    .values(due_at=_soon, news=_subscriber.news + 1)
    .where(any_of(_subscriber.webhook_id, "webhooks"))
)
_AT_ONCE: Final = Statement(
    sa.update(webhook_subscribers)
    .values(due_at=CLOCK, news=_subscriber.news + 1)
    .where(_subscriber.webhook_id == sa.bindparam("webhook"))
)
_DROP: Final = Statement(
    sa.update(webhook_deliveries)
    .values(state="dropped", settled_at=CLOCK)
    .where(_delivery.webhook_id == sa.bindparam("webhook"), delivery_is_due, _delivery.position < sa.bindparam("upto"))
)
_HEADS: Final = Statement(
    _heads(_now)
    .add_columns(
        _delivery.delivery_id,
        _delivery.type,
        _delivery.body,
        _delivery.correlation,
        _delivery.attempts,
        _delivery.answers,
        _delivery.due_at,
        _too_old.label("over"),
        *cause_columns(_delivery.position),
    )
    .where(_held)
    .order_by(_delivery.due_at)
    .limit(sa.bindparam("limit"))
)
# That it arrived is a fact, whoever has claimed the subscriber since.
_DELIVERED: Final = _settling({"state": "delivered", "settled_at": CLOCK})
_SETTLED: Final = _settling({"state": sa.bindparam("state"), "settled_at": CLOCK}, *_seen)
_LATER: Final = _settling({"due_at": CLOCK + sa.bindparam("wait", type_=sa.Interval)}, *_seen)
_GIVE_UP: Final = Statement(
    sa.update(webhook_deliveries)
    .values(state="failed", settled_at=CLOCK)
    .where(_delivery.webhook_id == sa.bindparam("webhook"), delivery_is_due, _too_old)
)
_MORE: Final = WORK.settling({"due_at": CLOCK, "failures": sa.bindparam("failures"), "last_error": sa.null()})
_REST: Final = WORK.settling({"due_at": _at_rest, "failures": sa.bindparam("failures"), "last_error": sa.null()})
_PAUSE: Final = WORK.settling(
    {
        "due_at": CLOCK + sa.bindparam("wait", type_=sa.Interval),
        "failures": sa.bindparam("failures"),
        "last_error": sa.bindparam("error"),
    }
)


def delivery_id(log_id: UUID, owed: Owed) -> UUID:
    """The same however often the event is read; another for another event that stands there after a failover."""
    return uuid5(log_id, f"webhook {owed.webhook_id} {owed.position} {owed.moment.isoformat()}")


async def write(session: Session, log_id: UUID, owed: Sequence[Owed]) -> set[UUID]:
    """Writes what is owed, each once, in the caller's transaction; answers the webhooks that have something new."""
    if not owed:
        return set()
    names = ("webhook_id", "position", "stream_id", "type", "body", "correlation")
    columns = {name: [getattr(each, name) for each in owed] for name in names}
    rows = await session.fetch(*_WRITE(delivery_id=[delivery_id(log_id, each) for each in owed], **columns))
    rung = {UUID(int=row["webhook_id"].int) for row in rows}
    await ring(session, rung)
    return rung


async def ring(session: Session, webhooks: Collection[UUID]) -> None:
    """Has workers look at subscribers for whom there is news, in the caller's transaction; not before a pause ends."""
    if webhooks:
        await session.execute(*_RING(webhooks=sorted(webhooks)))


async def ring_at_once(session: Session, webhook_id: UUID) -> None:
    """The same of one, whatever it did before: somebody says that it works now."""
    await session.execute(*_AT_ONCE(webhook=webhook_id))


async def drop(session: Session, webhook_id: UUID, position: int) -> None:
    """Sends nothing more of what happened before that position."""
    await session.execute(*_DROP(webhook=webhook_id, upto=position))


async def claim(database: Database, limit: int) -> list[Claimed]:
    """Takes subscribers who are owed something, at most so many."""
    rows = await WORK.claim(database, limit)
    return [
        Claimed(signers=signers_of(row["secrets"]), **{name: row[name] for name in row.keys() if name != "secrets"})  # noqa: SIM118
        for row in rows
    ]


async def due(database: Database, claimed: Claimed, limit: int) -> list[Delivery]:
    """What is to be sent to a subscriber now: of each stream the first that is owed, those that wait longest first.
    Nothing once the claim has ended."""
    rows = await database.fetch(*_HEADS(webhook=claimed.webhook_id, claim=claimed.claims, limit=limit))
    return [Delivery(**{**with_cause(row), "answers": orjson.loads(row["answers"])}) for row in rows]


async def settle(database: Database, delivery: Delivery, outcome: Outcome) -> bool:
    """Writes down what came of an attempt; False where that says nothing any more of what the row is since."""
    answers = orjson.dumps([*delivery.answers, outcome.answer][-MOST_ANSWERS:])
    told: dict[str, Any] = {"delivery": delivery.delivery_id, "answers": answers}
    seen = {"seen": delivery.attempts, "seen_due": delivery.due_at}
    match outcome.state:
        case "delivered":
            statement = _DELIVERED(**told)
        case "due":
            wait = timedelta(seconds=RETRY.after(delivery.attempts + 1, outcome.wait))
            statement = _LATER(wait=wait, **seen, **told)
        case _:
            statement = _SETTLED(state=outcome.state, **seen, **told)
    return await database.execute(*statement) == "UPDATE 1"


async def go_on(database: Database, claimed: Claimed, failures: int) -> None:
    """Ends a turn after which more is due: whoever is free takes the next."""
    await WORK.write(database, claimed, _MORE, failures=failures)


async def rest(database: Database, claimed: Claimed, failures: int) -> None:
    """Ends a turn that has found no more to send, until something is due; at once if there is news since the claim."""
    await WORK.write(database, claimed, _REST, failures=failures, webhook=claimed.webhook_id, seen_news=claimed.news)


async def pause(database: Database, claimed: Claimed, failures: int, wait: float, error: str) -> None:
    """Sends nothing for a while to who takes nothing. What has been owed for too long by then is given up."""
    await database.execute(*_GIVE_UP(webhook=claimed.webhook_id))
    later = timedelta(seconds=wait)
    await WORK.write(database, claimed, _PAUSE, failures=failures, wait=later, error=storable(error))
