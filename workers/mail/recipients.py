"""Recipients of mail, as rows: folded from account events by the reactions, read by whoever writes mails."""

from collections.abc import Collection
from uuid import UUID

from infra.eventsourcing.event_log import Session
from workers.mail.due_mails import Recipient, Recipients


async def known(session: Session, accounts: Collection[UUID]) -> dict[UUID, Recipient | None]:
    """Of those accounts that were ever registered; None for one that was erased."""
    if not accounts:
        return {}
    rows = await session.fetch(
        "SELECT account_id, email, username, language FROM mail_recipients WHERE account_id = ANY ($1)", list(accounts)
    )
    return {row["account_id"]: _recipient(row["email"], row["username"], row["language"]) for row in rows}


async def store(session: Session, recipients: Recipients) -> None:
    """Writes them, in the caller's transaction."""
    await session.execute(
        "INSERT INTO mail_recipients (account_id, email, username, language)"
        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) ON CONFLICT (account_id)"
        " DO UPDATE SET email = excluded.email, username = excluded.username, language = excluded.language",
        list(recipients),
        [recipient and recipient.email for recipient in recipients.values()],
        [recipient and recipient.username for recipient in recipients.values()],
        [recipient and recipient.language for recipient in recipients.values()],
    )


def _recipient(email: str | None, username: str | None, language: str | None) -> Recipient | None:
    if email is None or username is None:
        return None
    return Recipient(email=email, username=username, language=language)
