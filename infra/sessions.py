"""Who is signed in where: sessions, and the refresh tokens that keep one alive.

A session is one family of refresh tokens. Each token is used once; its successor is derived from it, so that it can be
told a second time, to a client that lost the answer, without being stored::

    random ──rotate──▶ mac(random) ──rotate──▶ mac(mac(random)) …     one live token per session
       └── again within the grace, its successor unused: the same successor
       └── again otherwise: two parties hold it, one of them a thief (RFC 9700 section 4.14.2)

That a session ends is told to the log first and written here after: see :meth:`domain.accounts.Account.keeps`.
"""

import os
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias
from uuid import UUID

from asyncpg import Record

from infra.database import Database
from infra.log import Session as Connection
from infra.server_secret import ServerSecret

LIFE_DAYS: Final = 30
"""How long a session lives without being used; and so does what is known of a token that was used."""
GRACE_SECONDS: Final = 10
MOST_LIVE: Final = 100
"""Sessions of one account. Beyond that the least recently used give way."""
LONGEST_TOKEN: Final = 100

_RANDOM_BYTES: Final = 32

# The share lock makes a password that changes meanwhile wait for this session, and so find it when it ends them all.
_BEGIN: Final = f"""
WITH begun AS (
    INSERT INTO sessions (session_id, account_id, password_no, scope, user_agent, source, expires_at)
    SELECT $1, c.account_id, c.password_no, $4, $5, $6, now() + interval '{LIFE_DAYS} days'
    FROM (SELECT account_id, password_no FROM credentials WHERE account_id = $2 AND password_no = $3 FOR SHARE) c
    RETURNING session_id)
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
RETURNING s.session_id, s.account_id, s.password_no, s.scope
"""  # noqa: S608

_LOOK: Final = f"""
SELECT s.session_id, s.account_id, s.password_no, s.scope, s.ended_at IS NULL AND s.expires_at > now() AS live,
       t.used_at IS NOT NULL AS used,
       t.used_at > now() - interval '{GRACE_SECONDS} seconds' AND n.used_at IS NULL AS in_grace
FROM refresh_tokens t JOIN sessions s USING (session_id) LEFT JOIN refresh_tokens n ON n.digest = t.successor
WHERE t.digest = $1
"""  # noqa: S608

# Tokens go with their sessions. Those that ended are kept for a day, so that a late replay is still known as one.
_TIDY: Final = f"""
DELETE FROM sessions WHERE account_id = $1 AND (
    expires_at < now() OR ended_at < now() - interval '1 day' OR session_id IN (
        SELECT session_id FROM sessions WHERE account_id = $1 AND ended_at IS NULL
        ORDER BY last_used_at DESC OFFSET {MOST_LIVE}))
"""  # noqa: S608

_END_ALL: Final = """
UPDATE sessions SET ended_at = now()
WHERE account_id = $1 AND ended_at IS NULL AND session_id IS DISTINCT FROM $2
"""


@dataclass(frozen=True, kw_only=True)
class Client:
    """What a client says of itself, for the list in which people recognise their sessions: short and printable."""

    user_agent: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session that somebody holds a refresh token of. ``scope`` is what was asked for when it began."""

    session_id: UUID
    account_id: UUID
    password_no: int
    scope: str | None


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

    async def begin(
        self, session_id: UUID, account_id: UUID, password_no: int, scope: str | None, client: Client
    ) -> str | None:
        """Begins a session; answers its first refresh token, or None where the password is no longer that one."""
        token = _text(os.urandom(_RANDOM_BYTES))
        begun = await self._database.returning_row(
            _BEGIN, session_id, account_id, password_no, scope, client.user_agent, client.source, _digest(token)
        )
        if begun is None:
            return None
        await self._database.execute(_TIDY, account_id)
        return token

    async def rotate(self, token: str, client: Client) -> Rotation:
        """Uses a refresh token up and gives the next one, or tells that it was used before."""
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return Unknown()
        successor = _text(await self._secret.mac(b"refresh", token.encode("ascii")))
        row = await self._database.returning_row(
            _ROTATE, _digest(token), _digest(successor), client.user_agent, client.source
        )
        if row is not None:
            return Rotated(session=_session(row), refresh_token=successor)
        return await self._again(token, successor)

    async def find(self, token: str) -> Session | None:
        """The live session of a refresh token, used or not."""
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        row = await self._database.fetchrow(_LOOK, _digest(token))
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
        await self._database.execute(
            "UPDATE sessions SET ended_at = now() WHERE session_id = $1 AND ended_at IS NULL", session_id
        )

    async def end_all(self, account_id: UUID) -> None:
        """Ends all sessions of the account."""
        await self._database.execute(_END_ALL, account_id, None)

    async def _again(self, token: str, successor: str) -> Rotation:
        row = await self._database.fetchrow(_LOOK, _digest(token))
        if row is None or not row["used"]:
            return Unknown()
        if row["live"] and row["in_grace"]:
            return Rotated(session=_session(row), refresh_token=successor)
        return Reused(session=_session(row), live=row["live"])


async def end_all(connection: Connection, account_id: UUID, *, keep: UUID | None = None) -> None:
    """Ends all sessions of the account but ``keep``, in the caller's transaction."""
    await connection.execute(_END_ALL, account_id, keep)


def _session(row: Record) -> Session:
    return Session(
        session_id=row["session_id"],
        account_id=row["account_id"],
        password_no=row["password_no"],
        scope=row["scope"],
    )


def _text(token: bytes) -> str:
    return urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def _digest(token: str) -> bytes:
    """A token has 256 random bits: there is nothing to guess, and no need for a slow hash."""
    return sha256(token.encode("ascii")).digest()
