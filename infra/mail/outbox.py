"""The mail ledger: an outbox with one row per mail, the only truth about it. A row is claimed, sent, and settled.

::

    due ──claim──▶ sending ──settle──▶ sent | refused | failed ──retry──▶ due
     ▲                │   └─ settle ─▶ due      (try again later)
     └─ lease is over ┴───── settle ─▶ unknown  (the reply was lost; the same Message-ID goes again)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID, uuid5

import orjson
from asyncpg import Record

from infra.concurrency.backoff import Backoff
from infra.eventsourcing.event_log import Session
from infra.postgres.due_work import DueWork, Lease
from infra.postgres.errors import storable
from infra.postgres.pool import Database

WORK: Final = DueWork(
    table="mail_ledger",
    key=("mail_id",),
    open="state IN ('due', 'sending', 'unknown')",
    answers="mail_id, kind, recipient, language, context, message_id, correlation, attempts, created_at, unsettled,"
    " extract(epoch FROM clock_timestamp() - tried_since)::double precision AS tried_seconds,"
    " extract(epoch FROM clock_timestamp() - created_at)::double precision AS age_seconds",
    claiming="state = 'sending', unsettled = unsettled + 1",
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


def mail_id(log_id: UUID, mail: Mail) -> UUID:
    """The same mail of the same log has the same id, however often it is written down."""
    return uuid5(log_id, f"{mail.position}:{mail.moment.astimezone(UTC).isoformat()}:{mail.kind}:{mail.recipient}")


async def write(session: Session, log_id: UUID, domain: str, mails: Sequence[Mail]) -> list[UUID]:
    """Writes mails down as due, in the caller's transaction; one that stands there already is left as it is.

    Answers the ids of those that are new. ``domain`` is the right side of their Message-IDs.
    """
    ids = [mail_id(log_id, mail) for mail in mails]
    rows = await session.fetch(
        "INSERT INTO mail_ledger (mail_id, position, kind, recipient, language, context, correlation, message_id)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[],"
        " $8::text[])"
        " ON CONFLICT DO NOTHING RETURNING mail_id",
        ids,
        [mail.position for mail in mails],
        [mail.kind for mail in mails],
        [mail.recipient for mail in mails],
        [mail.language for mail in mails],
        [orjson.dumps(mail.context) for mail in mails],
        [mail.correlation for mail in mails],
        [f"<{id.hex}@{domain}>" for id in ids],
    )
    return [row["mail_id"] for row in rows]


async def claim(database: Database, limit: int, *, only: str = "true") -> list[Claimed]:
    """Takes mails whose time has come, at most so many."""
    return [_claimed(row) for row in await WORK.claim(database, limit, only=only)]


def _claimed(row: Record) -> Claimed:
    return Claimed(**{**row, "context": orjson.loads(row["context"])})


_SETTLE: Final = """
WITH held AS (SELECT mail_id, attempts, state, last_error FROM mail_ledger WHERE mail_id = ANY ($1)
              ORDER BY mail_id FOR UPDATE),
told AS (
    SELECT DISTINCT ON (o.mail_id) o.* FROM held h
    JOIN unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::double precision[])
        AS o (mail_id, attempts, state, error, wait) USING (mail_id)
    WHERE o.attempts = h.attempts AND h.state = 'sending'
       OR o.state = 'sent' AND h.state <> 'sent' AND h.last_error IS DISTINCT FROM $6
    ORDER BY o.mail_id, o.state = 'sent' DESC
)
UPDATE mail_ledger m SET state = t.state, last_error = t.error, leased_until = NULL, unsettled = 0,
    due_at = clock_timestamp() + make_interval(secs => t.wait),
    sent_at = CASE WHEN t.state = 'sent' THEN clock_timestamp() END
FROM told t WHERE m.mail_id = t.mail_id RETURNING m.mail_id, t.attempts
"""


async def settle(database: Database, outcomes: Sequence[MailOutcome]) -> list[bool]:
    """Writes down how attempts ended; False in the place of one whose mail is no longer that attempt's.

    That a server has taken a mail is a fact: it holds also where the worker that saw it has lost its claim since, or
    the mail would go on being sent. Nothing else does.

    The rows are locked in one order: workers that settle the same mails wait for each other, and not in a circle.
    """
    rows = await database.returning(
        _SETTLE,
        [outcome.mail_id for outcome in outcomes],
        [outcome.attempts for outcome in outcomes],
        [outcome.state for outcome in outcomes],
        [outcome.error and storable(outcome.error) for outcome in outcomes],
        [outcome.wait_seconds for outcome in outcomes],
        ERASED,
    )
    settled = {(row["mail_id"], row["attempts"]) for row in rows}
    return [(outcome.mail_id, outcome.attempts) in settled for outcome in outcomes]


async def drop(session: Session, recipient: str, before: int) -> None:
    """Gives up the mails to an address that events before that position made due, in the caller's transaction.

    One that is being sent may still arrive; how that ended is of no more interest.
    """
    await session.execute(
        "UPDATE mail_ledger SET state = 'refused', last_error = $3"
        " WHERE recipient = $1 AND position < $2 AND state IN ('due', 'sending', 'unknown', 'failed')",
        recipient,
        before,
        ERASED,
    )


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


async def standing(database: Database) -> Standing:
    """How much is open."""
    row = await database.fetchrow(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - (SELECT min(created_at) FROM mail_ledger"  # noqa: S608
        f" WHERE {WORK.open})), 0)::double precision, (SELECT count(*) FROM mail_ledger WHERE state = 'failed')"
    )
    assert row is not None  # noqa: S101 - it has no condition
    return Standing(*row)


async def open_rows(database: Database, limit: int, *, refused: bool = False) -> list[Open]:
    """What is owed and what was given up, the oldest first; also what a server has refused, if wanted."""
    states = f"{WORK.open} OR state = 'failed'{' OR state = $3 AND last_error IS DISTINCT FROM $2' if refused else ''}"
    rows = await database.fetch(
        "SELECT mail_id, kind, created_at, state, attempts,"  # noqa: S608
        f" CASE WHEN {WORK.open} THEN due_at END, last_error FROM mail_ledger"
        f" WHERE {states} ORDER BY created_at, mail_id LIMIT $1",
        limit,
        *((ERASED, "refused") if refused else ()),
    )
    return [Open(UUID(bytes=row[0].bytes), *row[1:]) for row in rows]


async def retry(database: Database, mail_id: UUID | None = None) -> int:
    """Makes a mail due at once, to be tried for as long as a new one; without an id all that were given up.

    Answers how many. One that is being sent is left alone, and nobody writes to an account that was erased.
    """
    rows = await database.returning(
        "UPDATE mail_ledger SET state = CASE WHEN state = 'unknown' THEN state ELSE 'due' END,"
        " due_at = clock_timestamp(), leased_until = NULL, tried_since = clock_timestamp(), unsettled = 0"
        " WHERE (mail_id = $1 OR $1 IS NULL AND state = 'failed') AND state NOT IN ('sending', 'sent')"
        " AND last_error IS DISTINCT FROM $2 RETURNING mail_id",
        mail_id,
        ERASED,
    )
    return len(rows)
