"""Sessions as they are begun, refreshed and ended."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeAlias
from uuid import UUID

from asyncpg import Record

from infra import base64url
from infra.eventsourcing.event_log import Session as Connection
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions.statements import BEGIN, BEGIN_LATER, END, END_OLDER, IS_LIVE, LOOK, ROTATE
from infra.postgres.pool import Database

LONGEST_TOKEN: Final = 100

_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True)
class Client:
    """What a client says of itself, for the list in which people recognise their sessions: short and printable."""

    user_agent: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session that somebody holds a refresh token of. ``scope`` is what was asked for when it began.

    ``account_version`` is that of its account when it began, None where an older release did not say.
    """

    session_id: UUID
    account_id: UUID
    password_no: int
    account_version: int | None
    scope: str | None


@dataclass(frozen=True, kw_only=True)
class Void:
    """What is older than that version of an account is void, but the session that is ``kept``.

    A row whose version is not known is older if it was made before ``at``; without that it is left as it is.
    """

    account_id: UUID
    version: int
    kept: UUID | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The token was good; ``refresh_token`` takes its place."""

    session: Session
    refresh_token: str

    def __repr__(self) -> str:
        return f"Rotated(session_id={self.session.session_id})"


@dataclass(frozen=True, kw_only=True)
class Reused:
    """The token was used before. ``live``: its session has not ended yet."""

    session: Session
    live: bool


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The token is none of ours, or its session is over."""


Rotation: TypeAlias = Rotated | Reused | Unknown


class Sessions:
    """The sessions of all accounts."""

    def __init__(self, database: Database, secret: ServerSecret) -> None:
        self._database = database
        self._secret = secret

    async def begin(self, session: Session, client: Client) -> str | None:
        """Begins a session; answers its first refresh token, or None where it has become void by now: its password is
        another, or the account has ended all sessions as old as this one.

        The last thing that a sign-in does: nothing that can fail comes behind it.
        """
        token = base64url.encode(os.urandom(_RANDOM_BYTES))
        begun = await self._database.returning_row(
            *BEGIN(
                session=session.session_id,
                account=session.account_id,
                password_no=session.password_no,
                scope=session.scope,
                user_agent=client.user_agent,
                source=client.source,
                digest=_digest(token),
                version=session.account_version,
            )
        )
        return None if begun is None else token

    async def look(self, token: str) -> Session | Reused | Unknown:
        """What :meth:`rotate` would find just now: the session that it would go on with, or what it would say instead.

        Uses nothing up: whoever asks has time to see to everything else that a refresh needs.
        """
        row = await self._row(token)
        return _session(row) if row and row["live"] and not row["used"] else _again(row)

    async def rotate(self, token: str, client: Client) -> Rotation:
        """Uses a refresh token up and gives the next one, or tells that it was used before.

        The last thing that a refresh does: nothing that can fail comes behind it.
        """
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return Unknown()
        successor = base64url.encode(await self._secret.mac(b"refresh", token.encode("ascii")))
        digest, following = _digest(token), _digest(successor)
        row = await self._database.returning_row(
            *ROTATE(digest=digest, successor=following, user_agent=client.user_agent, source=client.source)
        )
        if row is not None:
            return Rotated(session=_session(row), refresh_token=successor)
        again = _again(await self._row(token))
        return Rotated(session=again, refresh_token=successor) if isinstance(again, Session) else again

    async def find(self, token: str) -> Session | None:
        """The live session of a refresh token, used or not."""
        row = await self._row(token)
        return _session(row) if row and row["live"] else None

    async def is_live(self, account_id: UUID, session_id: UUID) -> bool:
        """Whether the account has such a session, and it goes on."""
        return await self._database.fetchrow(*IS_LIVE(session=session_id, account=account_id)) is not None

    async def end(self, session_id: UUID) -> None:
        """Ends a session; one that has ended stays as it is."""
        await self._database.execute(*END(sessions=[session_id]))

    async def end_older(self, account_id: UUID, version: int) -> None:
        """Ends all sessions that were begun before the account was at that version."""
        async with self._database.write() as connection:
            await end_older(connection, [Void(account_id=account_id, version=version)])

    async def _row(self, token: str) -> Record | None:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        return await self._database.fetchrow(*LOOK(digest=_digest(token)))


async def end(connection: Connection, session_ids: Sequence[UUID]) -> None:
    """Ends these sessions, in the caller's transaction."""
    await connection.execute(*END(sessions=session_ids))


async def end_older(connection: Connection, voids: Sequence[Void]) -> None:
    """Ends the sessions that are void, in the caller's transaction, and sees to it that none of them begins later."""
    accounts, versions = [void.account_id for void in voids], [void.version for void in voids]
    # First, and by a statement of its own: it waits for sessions that are about to begin, and the next one sees them.
    await connection.execute(*BEGIN_LATER(account_id=accounts, version=versions))
    kept, at = [void.kept for void in voids], [void.at for void in voids]
    await connection.execute(*END_OLDER(account_id=accounts, version=versions, kept=kept, at=at))


def _again(row: Record | None) -> Session | Reused | Unknown:
    """What a token that cannot be used up any more stands for; its session, where its answer may have been lost."""
    if row is None or not row["used"]:
        return Unknown()
    if row["live"] and row["in_grace"]:
        return _session(row)
    return Reused(session=_session(row), live=row["live"])


def _session(row: Record) -> Session:
    return Session(
        session_id=row["session_id"],
        account_id=row["account_id"],
        password_no=row["password_no"],
        account_version=row["account_version"],
        scope=row["scope"],
    )


def _digest(token: str) -> bytes:
    """A token has 256 random bits: there is nothing to guess, and no need for a slow hash."""
    return sha256(token.encode("ascii")).digest()
