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
    """A mail to be written down. ``context`` is all that its template needs, and no secret."""

    position: int
    kind: str
    recipient: str
    context: dict[str, Any]
    correlation: str | None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A mail that is this worker's to send, until its lease ends. ``attempts`` counts this one: it is the fence."""

    mail_id: UUID
    kind: str
    recipient: str
    context: dict[str, Any]
    message_id: str
    correlation: str | None
    attempts: int
    created_at: datetime


def mail_id(log_id: UUID, mail: Mail) -> UUID:
    """The same mail of the same log has the same id, however often it is written down."""
    return uuid5(log_id, f"{mail.position}:{mail.kind}:{mail.recipient}")


async def write(session: Session, log_id: UUID, domain: str, mails: Sequence[Mail]) -> list[UUID]:
    """Writes mails down as due, in the caller's transaction; one that stands there already is left as it is.

    Answers the ids of those that are new. ``domain`` is the right side of their Message-IDs.
    """
    ids = [mail_id(log_id, mail) for mail in mails]
    rows = await session.fetch(
        "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, correlation, message_id)"
        " SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[])"
        " ON CONFLICT DO NOTHING RETURNING mail_id",
        ids,
        [mail.position for mail in mails],
        [mail.kind for mail in mails],
        [mail.recipient for mail in mails],
        [orjson.dumps(mail.context) for mail in mails],
        [mail.correlation for mail in mails],
        [f"<{id.hex}@{domain}>" for id in ids],
    )
    return [row["mail_id"] for row in rows]


async def claim(database: Database, mail_id: UUID, *, lease_seconds: float) -> Claimed | None:
    """Takes a mail whose time has come; None where it is sent, not due, or another worker's.

    Of two workers at once the second waits for the row and then finds ``due_at`` in the future.
    """
    row = await database.fetchrow(
        "UPDATE mail_ledger SET state = 'sending', attempts = attempts + 1,"
        " due_at = clock_timestamp() + make_interval(secs => $2)"
        " WHERE mail_id = $1 AND state IN ('due', 'sending', 'unknown') AND due_at <= clock_timestamp()"
        " RETURNING mail_id, kind, recipient, context, message_id, correlation, attempts, created_at",
        mail_id,
        lease_seconds,
    )
    return Claimed(**{**row, "context": orjson.loads(row["context"])}) if row else None


async def settle(
    database: Database, mail: Claimed, state: Settled, *, error: str | None = None, wait_seconds: float = 0
) -> bool:
    """Writes down how an attempt ended; False where the mail is no longer this attempt's.

    ``wait_seconds`` is the time until the next one, for ``due`` and ``unknown``.
    """
    settled = await database.execute(
        "UPDATE mail_ledger SET state = $3, last_error = $4, due_at = clock_timestamp() + make_interval(secs => $5),"
        " sent_at = CASE WHEN $3 = 'sent' THEN clock_timestamp() END"
        " WHERE mail_id = $1 AND attempts = $2 AND state = 'sending'",
        mail.mail_id,
        mail.attempts,
        state,
        error,
        wait_seconds,
    )
    return settled == "UPDATE 1"


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
