"""Sessions, and the refresh tokens that keep one alive.

A session is one family of refresh tokens. Each token is used once; its successor is derived from it, so that it can be
told a second time, to a client that lost the answer, without being stored::

    random ──rotate──▶ mac(random) ──rotate──▶ mac(mac(random)) …     one live token per session
       └── again within the grace, its successor unused: the same successor
       └── again otherwise: two parties hold it, one of them a thief (RFC 9700 section 4.14.2)

That a session ends is told to the log first and written here after (:mod:`infra.identity.void_rows`); whether it goes
on in between, :meth:`domain.accounts.Account.keeps` says.
"""

import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, TypeAlias
from uuid import UUID

from asyncpg import Record

from infra.eventsourcing.event_log import Session as Connection
from infra.identity.server_secret import ServerSecret
from infra.postgres.pool import Database

LIFE_DAYS: Final = 30
"""How long a session lives without being used; and so does what is known of a token that was used."""
GRACE_SECONDS: Final = 120
"""How long a used token is taken for one whose answer was lost: longer than a server takes to fail over.

Not for ever: within the grace a thief and the owner who take turns are both given the one chain. It is a fraction of
the life of an access token, so whoever was answered has no need to come back in it.
"""
MOST_LIVE: Final = 100
"""Sessions of one account. Beyond that the least recently used give way."""
LONGEST_TOKEN: Final = 100

_RANDOM_BYTES: Final = 32

# The share lock makes whatever ends the account's sessions wait for this one, and so find it; and what has ended them
# already is seen in the row. So no session outlives its void, however late it begins.
# What is over gives way in the same statement: tokens go with their sessions, and those that ended are kept for a day,
# so that a late replay is still known as one. Several sessions are locked in the order of their ids, everywhere.
_BEGIN: Final = f"""
WITH begun AS (
    INSERT INTO sessions
        (session_id, account_id, password_no, scope, user_agent, source, expires_at, account_version)
    SELECT $1, c.account_id, c.password_no, $4, $5, $6, now() + interval '{LIFE_DAYS} days', $8
    FROM (SELECT account_id, password_no FROM credentials
          WHERE account_id = $2 AND password_no = $3 AND sessions_from <= $8 FOR SHARE) c
    RETURNING session_id),
over AS (
    SELECT session_id FROM sessions WHERE account_id = $2 AND EXISTS (SELECT FROM begun) AND (
        expires_at < now() OR ended_at < now() - interval '1 day' OR session_id IN (
            SELECT session_id FROM sessions WHERE account_id = $2 AND ended_at IS NULL
            ORDER BY last_used_at DESC OFFSET {MOST_LIVE - 1}))
    ORDER BY session_id FOR UPDATE),
tidied AS (DELETE FROM sessions s USING over WHERE s.session_id = over.session_id)
INSERT INTO refresh_tokens (digest, session_id) SELECT $7, session_id FROM begun RETURNING session_id
"""  # noqa: S608 - there is nothing in these but our own figures

# A session is locked before its tokens, as those do that delete it.
_ROTATE: Final = f"""
WITH held AS (
    SELECT s.session_id FROM refresh_tokens t JOIN sessions s USING (session_id)
    WHERE t.digest = $1 AND s.ended_at IS NULL AND s.expires_at > now() FOR NO KEY UPDATE OF s),
spent AS (
    UPDATE refresh_tokens t SET used_at = now(), successor = $2 FROM held
    WHERE t.digest = $1 AND t.used_at IS NULL RETURNING t.session_id),
followed AS (INSERT INTO refresh_tokens (digest, session_id) SELECT $2, session_id FROM spent),
forgotten AS (
    DELETE FROM refresh_tokens t USING spent
    WHERE t.session_id = spent.session_id AND t.used_at < now() - interval '{LIFE_DAYS} days')
UPDATE sessions s
SET last_used_at = now(), expires_at = now() + interval '{LIFE_DAYS} days', user_agent = $3, source = $4
FROM spent WHERE s.session_id = spent.session_id
RETURNING s.session_id, s.account_id, s.password_no, s.account_version, s.scope
"""  # noqa: S608

_LOOK: Final = f"""
SELECT s.session_id, s.account_id, s.password_no, s.account_version, s.scope,
       s.ended_at IS NULL AND s.expires_at > now() AS live, t.used_at IS NOT NULL AS used,
       t.used_at > now() - interval '{GRACE_SECONDS} seconds' AND n.used_at IS NULL AS in_grace
FROM refresh_tokens t JOIN sessions s USING (session_id) LEFT JOIN refresh_tokens n ON n.digest = t.successor
WHERE t.digest = $1
"""  # noqa: S608

_END: Final = """
WITH these AS (
    SELECT session_id FROM sessions WHERE session_id = ANY ($1::uuid[]) AND ended_at IS NULL
    ORDER BY session_id FOR NO KEY UPDATE)
UPDATE sessions SET ended_at = now() FROM these WHERE sessions.session_id = these.session_id
"""

_BEGIN_LATER: Final = """
UPDATE credentials c SET sessions_from = n.version
FROM (SELECT account_id, max(version) AS version FROM unnest($1::uuid[], $2::integer[]) AS v (account_id, version)
      GROUP BY account_id) n
WHERE c.account_id = n.account_id AND c.sessions_from < n.version
"""

_END_OLDER: Final = """
WITH older AS (
    SELECT s.session_id FROM sessions s
    JOIN unnest($1::uuid[], $2::integer[], $3::uuid[], $4::timestamptz[]) AS n (account_id, version, kept, at)
        USING (account_id)
    WHERE s.ended_at IS NULL AND s.session_id IS DISTINCT FROM n.kept
        AND coalesce(s.account_version < n.version, s.created_at < n.at)
    ORDER BY s.session_id FOR NO KEY UPDATE OF s)
UPDATE sessions SET ended_at = now() FROM older WHERE sessions.session_id = older.session_id
"""


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
        token = _text(os.urandom(_RANDOM_BYTES))
        begun = await self._database.returning_row(
            _BEGIN,
            session.session_id,
            session.account_id,
            session.password_no,
            session.scope,
            client.user_agent,
            client.source,
            _digest(token),
            session.account_version,
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
        successor = _text(await self._secret.mac(b"refresh", token.encode("ascii")))
        row = await self._database.returning_row(
            _ROTATE, _digest(token), _digest(successor), client.user_agent, client.source
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
        row = await self._database.fetchrow(
            "SELECT FROM sessions"
            " WHERE session_id = $1 AND account_id = $2 AND ended_at IS NULL AND expires_at > now()",
            session_id,
            account_id,
        )
        return row is not None

    async def end(self, session_id: UUID) -> None:
        """Ends a session; one that has ended stays as it is."""
        await self._database.execute(_END, [session_id])

    async def end_older(self, account_id: UUID, version: int) -> None:
        """Ends all sessions that were begun before the account was at that version."""
        async with self._database.write() as connection:
            await end_older(connection, [Void(account_id=account_id, version=version)])

    async def _row(self, token: str) -> Record | None:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        return await self._database.fetchrow(_LOOK, _digest(token))


async def end(connection: Connection, session_ids: Sequence[UUID]) -> None:
    """Ends these sessions, in the caller's transaction."""
    await connection.execute(_END, session_ids)


async def end_older(connection: Connection, voids: Sequence[Void]) -> None:
    """Ends the sessions that are void, in the caller's transaction, and sees to it that none of them begins later."""
    accounts, versions = [void.account_id for void in voids], [void.version for void in voids]
    # First, and by a statement of its own: it waits for sessions that are about to begin, and the next one sees them.
    await connection.execute(_BEGIN_LATER, accounts, versions)
    await connection.execute(_END_OLDER, accounts, versions, [void.kept for void in voids], [void.at for void in voids])


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


def _text(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def _digest(token: str) -> bytes:
    """A token has 256 random bits: there is nothing to guess, and no need for a slow hash."""
    return sha256(token.encode("ascii")).digest()
