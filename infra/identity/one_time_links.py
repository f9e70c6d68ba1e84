"""Links in mails, each good for one use: rows whose tokens are derived, so that no table, job or log holds one.

::

    reaction ──write──▶ link_id ──mail job──▶ token(link_id) ──▶ mailbox ──▶ find(token) ──▶ use(link_id)
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

from infra.eventsourcing.event_log import Session
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import Void
from infra.postgres.pool import Database, Pooled
from infra.settings import Settings

_ID_BYTES: Final = 16
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{64}")
"""Base64url of an id and its code, 48 bytes: there is no padding, and so no second spelling."""


class Purpose(StrEnum):
    """What a link is for; one for another purpose proves nothing."""

    VERIFY_EMAIL = "verify-email"
    RESET_PASSWORD = "reset-password"  # noqa: S105


Lives: TypeAlias = Mapping[Purpose, timedelta]
"""How long a link for each purpose is good."""


def lives_of(settings: Settings) -> Lives:
    """How long links are good here. One that opens an account is good for minutes (OWASP ASVS 5, 6.5.5)."""
    return {
        Purpose.VERIFY_EMAIL: timedelta(days=7),
        Purpose.RESET_PASSWORD: timedelta(minutes=settings.password_reset_minutes),
    }


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link that a mail is to carry. ``account_version`` is that of the account as it asked for the link."""

    link_id: UUID
    account_id: UUID
    purpose: Purpose
    account_version: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """A link that somebody came back with. ``live``: it has not been used, and has time left."""

    link_id: UUID
    account_id: UUID
    live: bool


class Links:
    """The tokens of links: made when a mail is composed, read when somebody comes back with one."""

    def __init__(self, database: Database, secret: ServerSecret) -> None:
        self._database = database
        self._secret = secret

    async def token(self, purpose: Purpose, link_id: UUID) -> str:
        """The text that proves that its bearer got the mail with this link. The same at every call."""
        return urlsafe_b64encode(link_id.bytes + await self._code(purpose, link_id.bytes)).decode("ascii")

    async def find(self, purpose: Purpose, token: str) -> Found | None:
        """The link of a token that we made for this purpose; None for any other text, at no cost to Postgres."""
        if not _TOKEN.fullmatch(token):
            return None
        sent = urlsafe_b64decode(token)
        if not hmac.compare_digest(sent[_ID_BYTES:], await self._code(purpose, sent[:_ID_BYTES])):
            return None
        row = await self._database.fetchrow(
            "SELECT link_id, account_id, used_at IS NULL AND expires_at > now() AS live FROM links"
            " WHERE link_id = $1 AND purpose = $2",
            UUID(bytes=sent[:_ID_BYTES]),
            purpose,
        )
        return Found(**row) if row else None

    async def _code(self, purpose: Purpose, link_id: bytes) -> bytes:
        return await self._secret.mac(b"link:" + purpose.encode("ascii"), link_id)


async def use(connection: Pooled, link_id: UUID) -> bool:
    """Uses a link up, in the caller's transaction; of several that try at once, one does."""
    used = await connection.execute(
        "UPDATE links SET used_at = now() WHERE link_id = $1 AND used_at IS NULL AND expires_at > now()", link_id
    )
    return used == "UPDATE 1"


async def use_older(session: Session, purpose: Purpose, voids: Sequence[Void]) -> None:
    """Uses up the links that are void, in the caller's transaction: what they were for is done, or not wanted now."""
    await session.execute(
        "UPDATE links l SET used_at = now()"
        " FROM unnest($2::uuid[], $3::integer[], $4::timestamptz[]) AS n (account_id, version, at)"
        " WHERE l.account_id = n.account_id AND l.purpose = $1 AND l.used_at IS NULL"
        " AND coalesce(l.account_version < n.version, l.created_at < n.at)",
        purpose,
        [void.account_id for void in voids],
        [void.version for void in voids],
        [void.at for void in voids],
    )


async def write(session: Session, links: Sequence[Link], lives: Lives) -> None:
    """Writes links down, in the caller's transaction; one that stands there already is left as it is.

    Each takes the place of the account's older ones of its purpose: of two links in a mailbox only the newer opens.
    """
    newest = list({(link.account_id, link.purpose): link for link in links}.values())
    await session.execute(
        "DELETE FROM links l USING unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (link_id, account_id, purpose)"
        " WHERE l.account_id = n.account_id AND l.purpose = n.purpose AND l.link_id <> n.link_id",
        [link.link_id for link in newest],
        [link.account_id for link in newest],
        [link.purpose for link in newest],
    )
    await session.execute(
        "INSERT INTO links (link_id, account_id, purpose, expires_at, account_version)"
        " SELECT link_id, account_id, purpose, now() + lives, version"
        " FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::interval[], $5::integer[])"
        " AS n (link_id, account_id, purpose, lives, version)"
        " ON CONFLICT DO NOTHING",
        [link.link_id for link in newest],
        [link.account_id for link in newest],
        [link.purpose for link in newest],
        [lives[link.purpose] for link in newest],
        [link.account_version for link in newest],
    )
