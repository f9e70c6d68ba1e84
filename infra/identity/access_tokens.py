"""Access tokens: ES256 JWTs of at most fifteen minutes, and the memory of those already verified.

RFC 9068 says what stands in them (``typ: at+jwt`` and the required claims), RFC 8725 what a verifier must insist on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from infra.eventsourcing.current_log import CurrentLog
from infra.identity.signing_keys import SigningKey

ALGORITHM: Final = "ES256"
TYPE: Final = "at+jwt"
AUDIENCE: Final = "weir-api"
LONGEST_LIFE: Final = 900
LEEWAY_SECONDS: Final = 5
"""How far what two API processes know of Postgres's clock may differ."""
LONGEST_TOKEN: Final = 4096
REMEMBERED: Final = 20_000
CLAIMS: Final = ["iss", "aud", "sub", "jti", "iat", "exp", "scope", "sid", "ver", "his"]

_MALFORMED: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class KeySource(Protocol):
    """Where signing keys come from: :class:`infra.identity.signing_keys.SigningKeys`. ``gone`` counts how often any has
    gone out of use."""

    @property
    def gone(self) -> int: ...

    async def signing(self) -> SigningKey:
        """The key to sign with."""

    async def public(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key of that id, if it is in use."""


class InvalidToken(Exception):
    """The token is not one that this system issued and that is still good. It never says which check failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who is asking, proven by an access token, and what they may do.

    ``session_id`` is the session that the token belongs to, ``version`` that of the account's stream when the token was
    issued: what ends a session, or what the account's later events forbid, is told from them. A version means an event
    in one ``history`` of the log alone. ``expires_at`` is in Unix seconds.
    """

    account_id: UUID
    session_id: UUID
    version: int
    history: UUID
    scopes: frozenset[str]
    expires_at: int


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A new access token, as the token endpoint hands it out."""

    token: str
    expires_in: int
    scope: str

    def __repr__(self) -> str:
        return f"Issued(expires_in={self.expires_in}, scope={self.scope!r})"


class Tokens:
    """Issues and verifies access tokens. A token is checked by cryptography once per process and then remembered.

    ``now`` tells Postgres's time in Unix seconds: what one process issues, all others have to find good for as long.
    """

    def __init__(
        self, keys: KeySource, log: CurrentLog, *, now: Callable[[], float], issuer: str, seconds: int
    ) -> None:
        self._keys = keys
        self._log = log
        self._now = now
        self._issuer = issuer
        self._seconds = min(seconds, LONGEST_LIFE)
        self._verified: dict[str, Access] = {}
        self._gone = keys.gone

    @property
    def history(self) -> UUID:
        """The log's history as far as this process has heard: to be asked before the version that a token is to name,
        or a failover in between would make the lost version one of the new history."""
        return self._log.history

    async def issue(
        self,
        account_id: UUID,
        scopes: Iterable[str],
        *,
        session_id: UUID,
        version: int,
        history: UUID | None = None,
    ) -> Issued:
        """A token that speaks for the account, in a session of it, as of a version of its stream in that history of the
        log; None for that of now."""
        now = int(self._now())
        scope = " ".join(sorted(scopes))
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(account_id),
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + self._seconds,
            "scope": scope,
            "sid": str(session_id),
            "ver": version,
            "his": str(history or self._log.history),
        }
        key = await self._keys.signing()
        token = jwt.encode(claims, key.private, ALGORITHM, headers={"typ": TYPE, "kid": key.kid})
        return Issued(token=token, expires_in=self._seconds, scope=scope)

    def remembered(self, token: str) -> Access | None:
        """Who a token speaks for, if this process has verified it before: a look-up, no cryptography."""
        if self._gone != self._keys.gone:
            self._verified, self._gone = {}, self._keys.gone
        access = self._verified.get(token)
        if access is None or _is_alive(access, self._now()):
            return access
        del self._verified[token]
        return None

    async def verify(self, token: str) -> Access:
        """Who the token speaks for.

        Raises :class:`InvalidToken`, or :class:`~infra.errors.Unavailable` where the keys cannot be read.
        """
        if (known := self.remembered(token)) is not None:
            return known
        access = await self._check(token)
        if len(self._verified) >= REMEMBERED:
            self._forget()
        self._verified[token] = access
        return access

    async def _check(self, token: str) -> Access:
        if len(token) > LONGEST_TOKEN:
            raise InvalidToken
        try:
            key = await self._keys.public(_key_id(token))
            if key is None:
                raise InvalidToken
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                # The library would compare times with this machine's clock.
                options={"require": CLAIMS, "strict_aud": True, "verify_exp": False, "verify_iat": False},
            )
            return _access(claims, self._now())
        except _MALFORMED:
            raise InvalidToken from None

    def _forget(self) -> None:
        """Makes room: what has expired goes, and if that is not enough, the older half."""
        now = self._now()
        live = [(token, access) for token, access in self._verified.items() if _is_alive(access, now)]
        self._verified = dict(live[-REMEMBERED // 2 :])


def _key_id(token: str) -> str:
    """The id of the key that the header names; everything else in the header must be exactly what we write."""
    header = jwt.get_unverified_header(token)
    if header.keys() != {"alg", "typ", "kid"} or header["typ"] != TYPE or header["alg"] != ALGORITHM:
        raise InvalidToken
    kid: str = header["kid"]
    return kid


def _is_alive(access: Access, now: float) -> bool:
    """Nor is a token that has longer to live than any: it is of a time that the clock was set back from since."""
    return now < access.expires_at <= now + LONGEST_LIFE + LEEWAY_SECONDS


def _access(claims: dict[str, Any], now: float) -> Access:
    scope, session = _text(claims, "scope"), _text(claims, "sid")
    issued, expires, version = _whole(claims, "iat"), _whole(claims, "exp"), _whole(claims, "ver")
    if not 0 < expires - issued <= LONGEST_LIFE or version < 1:
        raise InvalidToken
    if issued > now + LEEWAY_SECONDS or expires <= now - LEEWAY_SECONDS:
        raise InvalidToken
    return Access(
        account_id=UUID(claims["sub"]),
        session_id=UUID(session),
        version=version,
        history=UUID(_text(claims, "his")),
        scopes=frozenset(scope.split()),
        expires_at=expires,
    )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise InvalidToken
    return value


def _whole(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int:
        raise InvalidToken
    return value
