"""The mail ledger: one row per mail, the only truth about it. A row is claimed, sent, and settled.

::

    due ──claim──▶ sending ──settle──▶ sent | refused | failed
     ▲                │   └─ settle ─▶ due      (try again later)
     └── due_at past ─┴───── settle ─▶ unknown  (the reply was lost; the same Message-ID goes again)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID, uuid5

import orjson

from infra.database import Database
from infra.log import Session

State: TypeAlias = Literal["due", "sending", "unknown", "sent", "refused", "failed"]
Settled: TypeAlias = Literal["due", "unknown", "sent", "refused", "failed"]


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail to be written down. ``context`` is all that its template needs, and no secret.

    ``language`` is the recipient's, None for whichever the shop speaks.
    """

    position: int
    kind: str
    recipient: str
    language: str | None
    context: dict[str, Any]
    correlation: str | None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A mail that is this worker's to send, until its lease ends. ``attempts`` counts this one: it is the fence."""

    mail_id: UUID
    kind: str
    recipient: str
    language: str | None
    context: dict[str, Any]
    message_id: str
    correlation: str | None
    attempts: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt at a mail ended. ``wait_seconds`` is the time until the next one, for ``due`` and ``unknown``."""

    mail_id: UUID
    attempts: int
    state: Settled
    error: str | None
    wait_seconds: float


def mail_id(log_id: UUID, mail: Mail) -> UUID:
    """The same mail of the same log has the same id, however often it is written down."""
    return uuid5(log_id, f"{mail.position}:{mail.kind}:{mail.recipient}")


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


async def claim(database: Database, mail_ids: Sequence[UUID], *, lease_seconds: float) -> list[Claimed | None]:
    """Takes the mails whose time has come; None in the place of one that is sent, not due, or another worker's.

    A mail that is asked for twice is given once. Rows that another worker is at are passed over: it is either claiming
    them or settling them, and two that wait for each other's rows would never end.
    """
    rows = await database.returning(
        "WITH free AS (SELECT mail_id FROM mail_ledger WHERE mail_id = ANY ($1)"
        "              AND state IN ('due', 'sending', 'unknown') AND due_at <= clock_timestamp()"
        "              FOR UPDATE SKIP LOCKED)"
        " UPDATE mail_ledger m SET state = 'sending', attempts = attempts + 1,"
        " due_at = clock_timestamp() + make_interval(secs => $2) FROM free WHERE m.mail_id = free.mail_id"
        " RETURNING m.mail_id, kind, recipient, language, context, message_id, correlation, attempts, created_at",
        mail_ids,
        lease_seconds,
    )
    claimed = {row["mail_id"]: Claimed(**{**row, "context": orjson.loads(row["context"])}) for row in rows}
    return [claimed.pop(mail_id, None) for mail_id in mail_ids]


async def settle(database: Database, outcomes: Sequence[Outcome]) -> list[bool]:
    """Writes down how attempts ended; False in the place of one whose mail is no longer that attempt's.

    The rows are locked in one order: workers that settle the same mails wait for each other, and not in a circle.
    """
    rows = await database.returning(
        "WITH held AS (SELECT mail_id FROM mail_ledger WHERE mail_id = ANY ($1) ORDER BY mail_id FOR UPDATE)"
        " UPDATE mail_ledger m SET state = o.state, last_error = o.error,"
        " due_at = clock_timestamp() + make_interval(secs => o.wait),"
        " sent_at = CASE WHEN o.state = 'sent' THEN clock_timestamp() END"
        " FROM held, unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::double precision[])"
        " AS o (mail_id, attempts, state, error, wait)"
        " WHERE m.mail_id = held.mail_id AND o.mail_id = held.mail_id"
        " AND m.attempts = o.attempts AND m.state = 'sending' RETURNING m.mail_id, m.attempts",
        [outcome.mail_id for outcome in outcomes],
        [outcome.attempts for outcome in outcomes],
        [outcome.state for outcome in outcomes],
        [outcome.error for outcome in outcomes],
        [outcome.wait_seconds for outcome in outcomes],
    )
    settled = {(row["mail_id"], row["attempts"]) for row in rows}
    return [(outcome.mail_id, outcome.attempts) in settled for outcome in outcomes]


async def drop(session: Session, recipient: str, before: int) -> None:
    """Gives up the mails to an address that events before that position made due, in the caller's transaction.

    One that is being sent may still arrive; how that ended is of no more interest.
    """
    await session.execute(
        "UPDATE mail_ledger SET state = 'refused', last_error = 'the account was erased'"
        " WHERE recipient = $1 AND position < $2 AND state IN ('due', 'sending', 'unknown')",
        recipient,
        before,
    )


async def due(database: Database, limit: int) -> list[tuple[UUID, int]]:
    """Mails whose time has come, the longest waiting first, each with the attempts made so far."""
    rows = await database.fetch(
        "SELECT mail_id, attempts FROM mail_ledger"
        " WHERE state IN ('due', 'sending', 'unknown') AND due_at <= clock_timestamp() ORDER BY due_at LIMIT $1",
        limit,
    )
    return [(row["mail_id"], row["attempts"]) for row in rows]
