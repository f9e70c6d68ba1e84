"""The mail ledger: an outbox with one row per mail, the only truth about it. A row is claimed, sent, and settled.

::

    due ──claim──▶ sending ──settle──▶ sent | refused | failed ──retry──▶ due
     ▲                │   └─ settle ─▶ due      (try again later)
     └─ lease is over ┴───── settle ─▶ unknown  (the reply was lost; the same Message-ID goes again)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID, uuid5

import orjson
import sqlalchemy as sa
from asyncpg import Record
from sqlalchemy.dialects.postgresql import distinct_on, insert

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_causes import cause_columns, with_cause
from infra.eventsourcing.event_log import Session
from infra.observability.origin import UNKNOWN, Cause
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database
from infra.postgres.reader import OneRow
from infra.postgres.statements import CLOCK, Statement, any_of, given_rows, inline
from infra.postgres.tables.columns import among
from infra.postgres.tables.outboxes import mail_failed, mail_is_owed, mail_ledger

_mail: Final = mail_ledger.c


def _seconds_since(moment: sa.ColumnElement[datetime]) -> sa.ColumnElement[float]:
    return sa.cast(sa.extract("epoch", CLOCK - moment), sa.Double)


WORK: Final = DueWork(
    table=mail_ledger,
    open=mail_is_owed,
    answers=(
        _mail.mail_id,
        _mail.kind,
        _mail.recipient,
        _mail.language,
        _mail.context,
        _mail.message_id,
        _mail.correlation,
        _mail.attempts,
        _mail.created_at,
        _mail.unsettled,
        _seconds_since(_mail.tried_since).label("tried_seconds"),
        _seconds_since(_mail.created_at).label("age_seconds"),
        *cause_columns(_mail.position),
    ),
    claiming={"state": "sending", "unsettled": _mail.unsettled + 1},
    lease_seconds=30.0,
    backoff=Backoff(longest=3600.0),
)
"""The lease is longer than a conversation, or two workers could be sending one mail."""

ERASED: Final = "the account was erased"
"""Why a mail is refused that nobody may send any more, not even an operator."""

State: TypeAlias = Literal["due", "sending", "unknown", "sent", "refused", "failed"]
Settled: TypeAlias = Literal["due", "unknown", "sent", "refused", "failed"]


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail to be written down. ``context`` is all that its template needs, and no secret.

    ``position`` is that of the event that makes it due, and ``moment`` a time that the event names as its own: after a
    failover that lost it, another event may stand at its position, and mail servers drop a Message-ID that they know.
    ``language`` is the recipient's, None for whichever the shop speaks.
    """

    position: int
    moment: datetime
    kind: str
    recipient: str = field(repr=False)
    language: str | None
    context: dict[str, Any] = field(repr=False)
    correlation: str | None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A mail that is this worker's to send, until its lease ends. ``attempts`` counts this one: it is the fence.

    ``unsettled`` are the claims since the last outcome, this included; ``tried_seconds`` how long it has been tried.
    """

    mail_id: UUID
    kind: str
    recipient: str = field(repr=False)
    language: str | None
    context: dict[str, Any] = field(repr=False)
    message_id: str
    correlation: str | None
    attempts: int
    created_at: datetime
    unsettled: int = 1
    tried_seconds: float = 0.0
    age_seconds: float = 0.0
    cause: Cause = UNKNOWN

    @property
    def lease(self) -> Lease:
        return Lease((self.mail_id,), self.attempts)


@dataclass(frozen=True, kw_only=True)
class MailOutcome:
    """How an attempt at a mail ended. ``wait_seconds`` is the time until the next one, for ``due`` and ``unknown``."""

    mail_id: UUID
    attempts: int
    state: Settled
    error: str | None
    wait_seconds: float


def _write() -> Statement:
    names = ("mail_id", "position", "kind", "recipient", "language", "context", "correlation", "message_id")
    mails = given_rows("mails", **{name: mail_ledger.c[name].type for name in names})
    new = insert(mail_ledger).from_select(names, sa.select(mails))
    return Statement(new.on_conflict_do_nothing().returning(_mail.mail_id))


def _settle() -> Statement:
    text, number = sa.Text(), sa.Integer()
    columns = given_rows("outcomes", mail_id=sa.Uuid(), attempts=number, state=text, error=text, wait=sa.Interval())
    outcome = columns.c
    held_rows = sa.select(_mail.mail_id, _mail.attempts, _mail.state, _mail.last_error)
    held_rows = held_rows.where(any_of(_mail.mail_id, "mail_id")).order_by(_mail.mail_id).with_for_update()
    held = held_rows.cte("held").c
    sent = outcome.state == inline("sent")
    its_own = (outcome.attempts == held.attempts) & (held.state == inline("sending"))
    a_fact = sent & (held.state != inline("sent")) & held.last_error.is_distinct_from(inline(ERASED))
    told_rows = sa.select(*outcome).where(outcome.mail_id == held.mail_id, its_own | a_fact)
    told_rows = told_rows.ext(distinct_on(outcome.mail_id)).order_by(outcome.mail_id, sent.desc())
    told = told_rows.cte("told").c
    values = {
        "state": told.state,
        "last_error": told.error,
        "leased_until": sa.null(),
        "unsettled": 0,
        "due_at": CLOCK + told.wait,
        "sent_at": sa.case((told.state == inline("sent"), CLOCK)),
    }
    settled = sa.update(mail_ledger).values(values).where(_mail.mail_id == told.mail_id)
    return Statement(settled.returning(_mail.mail_id, told.attempts))


def _open(condition: sa.ColumnElement[bool]) -> Statement:
    due_at = sa.case((mail_is_owed, _mail.due_at))
    columns = (_mail.mail_id, _mail.kind, _mail.created_at, _mail.state, _mail.attempts, due_at, _mail.last_error)
    rows = sa.select(*columns).where(condition).order_by(_mail.created_at, _mail.mail_id)
    return Statement(rows.limit(sa.bindparam("limit")))


def _retry() -> Statement:
    one = sa.bindparam("mail", type_=sa.Uuid)
    values = {
        "state": sa.case((_mail.state == inline("unknown"), _mail.state), else_=inline("due")),
        "due_at": CLOCK,
        "leased_until": sa.null(),
        "tried_since": CLOCK,
        "unsettled": 0,
    }
    those = (_mail.mail_id == one) | (one.is_(None) & mail_failed)
    may_be_sent = ~among(_mail.state, "sending", "sent") & _may_be_written
    return Statement(sa.update(mail_ledger).values(values).where(those, may_be_sent).returning(_mail.mail_id))


_may_be_written: Final = _mail.last_error.is_distinct_from(inline(ERASED))
_oldest: Final = sa.select(sa.func.min(_mail.created_at)).where(mail_is_owed).scalar_subquery()
_failed: Final = sa.select(sa.func.count()).where(mail_failed).select_from(mail_ledger).scalar_subquery()

_WRITE: Final = _write()
_SETTLE: Final = _settle()
_DROP: Final = Statement(
    sa.update(mail_ledger)
    .values(state="refused", last_error=ERASED)
    .where(_mail.recipient == sa.bindparam("to"), _mail.position < sa.bindparam("before"), mail_is_owed | mail_failed)
)
_STANDING: Final = Statement(sa.select(sa.func.coalesce(_seconds_since(_oldest), inline(0)), _failed))
_OPEN: Final = _open(mail_is_owed | mail_failed)
_OPEN_OR_REFUSED: Final = _open(mail_is_owed | mail_failed | ((_mail.state == inline("refused")) & _may_be_written))
_RETRY: Final = _retry()


def mail_id(log_id: UUID, mail: Mail) -> UUID:
    """The same mail of the same log has the same id, however often it is written down."""
    return uuid5(log_id, f"{mail.position}:{mail.moment.astimezone(UTC).isoformat()}:{mail.kind}:{mail.recipient}")


async def write(session: Session, log_id: UUID, domain: str, mails: Sequence[Mail]) -> list[UUID]:
    """Writes mails down as due, in the caller's transaction; one that stands there already is left as it is.

    Answers the ids of those that are new. ``domain`` is the right side of their Message-IDs.
    """
    ids = [mail_id(log_id, mail) for mail in mails]
    rows = await session.fetch(
        *_WRITE(
            mail_id=ids,
            position=[mail.position for mail in mails],
            kind=[mail.kind for mail in mails],
            recipient=[mail.recipient for mail in mails],
            language=[mail.language for mail in mails],
            context=[orjson.dumps(mail.context) for mail in mails],
            correlation=[mail.correlation for mail in mails],
            message_id=[f"<{id.hex}@{domain}>" for id in ids],
        )
    )
    return [row["mail_id"] for row in rows]


async def claim(database: Database, limit: int, *, only: sa.ColumnElement[bool] | None = None) -> list[Claimed]:
    """Takes mails whose time has come, at most so many."""
    return [_claimed(row) for row in await WORK.claim(database, limit, only=only)]


def _claimed(row: Record) -> Claimed:
    return Claimed(**{**with_cause(row), "context": orjson.loads(row["context"])})


async def settle(database: Database, outcomes: Sequence[MailOutcome]) -> list[bool]:
    """Writes down how attempts ended; False in the place of one whose mail is no longer that attempt's.

    That a server has taken a mail is a fact: it holds also where the worker that saw it has lost its claim since, or
    the mail would go on being sent. Nothing else does.

    The rows are locked in one order: workers that settle the same mails wait for each other, and not in a circle.
    """
    rows = await database.returning(
        *_SETTLE(
            mail_id=[outcome.mail_id for outcome in outcomes],
            attempts=[outcome.attempts for outcome in outcomes],
            state=[outcome.state for outcome in outcomes],
            error=[outcome.error and storable(outcome.error) for outcome in outcomes],
            wait=[timedelta(seconds=outcome.wait_seconds) for outcome in outcomes],
        )
    )
    settled = {(row["mail_id"], row["attempts"]) for row in rows}
    return [(outcome.mail_id, outcome.attempts) in settled for outcome in outcomes]


async def drop(session: Session, recipient: str, before: int) -> None:
    """Gives up the mails to an address that events before that position made due, in the caller's transaction.

    One that is being sent may still arrive; how that ended is of no more interest.
    """
    await session.execute(*_DROP(to=recipient, before=before))


class Standing(NamedTuple):
    """How much is open: for how many seconds the oldest mail has been owed, and how many were given up."""

    oldest: float
    failed: int


class Open(NamedTuple):
    """A mail that has not been sent, as an operator sees it. ``due_at`` is None where nobody will try it again."""

    mail_id: UUID
    kind: str
    created_at: datetime
    state: State
    attempts: int
    due_at: datetime | None
    reason: str | None


async def standing(database: OneRow) -> Standing:
    """How much is open."""
    row = await database.fetchrow(*_STANDING())
    assert row is not None  # noqa: S101 - it has no condition
    return Standing(*row)


async def open_rows(database: Database, limit: int, *, refused: bool = False) -> list[Open]:
    """What is owed and what was given up, the oldest first; also what a server has refused, if wanted."""
    rows = await database.fetch(*(_OPEN_OR_REFUSED if refused else _OPEN)(limit=limit))
    return [Open(UUID(bytes=row[0].bytes), *row[1:]) for row in rows]


async def retry(database: Database, mail_id: UUID | None = None) -> int:
    """Makes a mail due at once, to be tried for as long as a new one; without an id all that were given up.

    Answers how many. One that is being sent is left alone, and nobody writes to an account that was erased.
    """
    rows = await database.returning(*_RETRY(mail=mail_id))
    return len(rows)
