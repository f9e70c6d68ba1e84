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

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from infra.eventsourcing.event_log import Session
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import Void
from infra.postgres.pool import Database, Pooled
from infra.postgres.statements import NOW, TIMESTAMPTZ, Statement, given_rows
from infra.postgres.tables.identity import links
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


_is_live: Final = links.c.used_at.is_(None) & (links.c.expires_at > NOW)
_is_it: Final = links.c.link_id == sa.bindparam("link")
_FIND: Final = Statement(
    sa.select(links.c.link_id, links.c.account_id, _is_live.label("live")).where(
        _is_it, links.c.purpose == sa.bindparam("purpose")
    )
)
_USE: Final = Statement(sa.update(links).values(used_at=NOW).where(_is_it, _is_live))

_void: Final = given_rows("voids", account_id=sa.Uuid(), version=sa.Integer(), at=TIMESTAMPTZ)
_USE_OLDER: Final = Statement(
    sa.update(links)
    .values(used_at=NOW)
    .where(links.c.account_id == _void.c.account_id, links.c.purpose == sa.bindparam("purpose"))
    .where(links.c.used_at.is_(None))
    .where(sa.func.coalesce(links.c.account_version < _void.c.version, links.c.created_at < _void.c.at))
)

_newer: Final = given_rows("newer", link_id=sa.Uuid(), account_id=sa.Uuid(), purpose=sa.Text())
_FORGET_OLDER: Final = Statement(
    sa.delete(links).where(
        links.c.account_id == _newer.c.account_id,
        links.c.purpose == _newer.c.purpose,
        links.c.link_id != _newer.c.link_id,
    )
)

_new: Final = given_rows(
    "new",
    link_id=sa.Uuid(),
    account_id=sa.Uuid(),
    purpose=sa.Text(),
    life=sa.Interval(),
    account_version=sa.Integer(),
)
_WRITE: Final = Statement(
    insert(links)
    .from_select(
        ["link_id", "account_id", "purpose", "expires_at", "account_version"],
        sa.select(_new.c.link_id, _new.c.account_id, _new.c.purpose, NOW + _new.c.life, _new.c.account_version),
    )
    .on_conflict_do_nothing()
)


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
        row = await self._database.fetchrow(*_FIND(link=UUID(bytes=sent[:_ID_BYTES]), purpose=purpose))
        return Found(**row) if row else None

    async def _code(self, purpose: Purpose, link_id: bytes) -> bytes:
        return await self._secret.mac(b"link:" + purpose.encode("ascii"), link_id)


async def use(connection: Pooled, link_id: UUID) -> bool:
    """Uses a link up, in the caller's transaction; of several that try at once, one does."""
    return await connection.execute(*_USE(link=link_id)) == "UPDATE 1"


async def use_older(session: Session, purpose: Purpose, voids: Sequence[Void]) -> None:
    """Uses up the links that are void, in the caller's transaction: what they were for is done, or not wanted now."""
    await session.execute(
        *_USE_OLDER(
            purpose=purpose,
            account_id=[void.account_id for void in voids],
            version=[void.version for void in voids],
            at=[void.at for void in voids],
        )
    )


async def write(session: Session, links: Sequence[Link], lives: Lives) -> None:
    """Writes links down, in the caller's transaction; one that stands there already is left as it is.

    Each takes the place of the account's older ones of its purpose: of two links in a mailbox only the newer opens.
    """
    newest = list({(link.account_id, link.purpose): link for link in links}.values())
    accounts, ids = [link.account_id for link in newest], [link.link_id for link in newest]
    purposes = [link.purpose for link in newest]
    await session.execute(*_FORGET_OLDER(link_id=ids, account_id=accounts, purpose=purposes))
    await session.execute(
        *_WRITE(
            link_id=ids,
            account_id=accounts,
            purpose=purposes,
            life=[lives[link.purpose] for link in newest],
            account_version=[link.account_version for link in newest],
        )
    )
