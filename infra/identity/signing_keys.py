"""The keys that sign access tokens: rows shared by all processes, made on first need, published by half.

They take turns (:mod:`infra.identity.key_rotation`): a new one is published and verifies at once, signs when every
process has surely heard of it, and then the one before verifies until its last token has expired. Nobody is refused on
the way.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final, cast

import asyncpg
import orjson
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from infra import base64url
from infra.concurrency.periodic import repeating
from infra.errors import CannotUnwrap
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.stored_secrets import place_of, writing
from infra.postgres.pool import Database
from infra.postgres.statements import NOW, Statement
from infra.postgres.tables.identity import signing_keys

RELOAD_SECONDS: Final = 1.0
"""An unknown key id makes a process look again, at most this often: a stranger's token is no lever on Postgres."""

LOOK_SECONDS: Final = 2.0
"""How often a process that serves looks unasked."""

READ_SECONDS: Final = 1.0
"""How long a look may take before Postgres counts as down."""

FRESH_SECONDS: Final = 5.0
"""A process that has not looked for so long does so before it signs, for the key it knows may have retired."""

_LIVE: Final = Statement(
    sa.select(signing_keys.c.kid, signing_keys.c.wrapped)
    .where(signing_keys.c.retired_at.is_(None) | (signing_keys.c.retired_at > NOW))
    .order_by((signing_keys.c.activates_at <= NOW).desc(), signing_keys.c.activates_at.desc(), signing_keys.c.kid)
)
"""The one that signs comes first: of those whose time has come, the newest. Postgres's clock alone decides."""

_ADD: Final = Statement(sa.insert(signing_keys).values({name: sa.bindparam(name) for name in ("kid", "wrapped")}))


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """An ES256 key pair; its repr shows the key id alone."""

    kid: str
    private: EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> EllipticCurvePublicKey:
        """The half that may be shown."""
        return self.private.public_key()

    def pem(self) -> bytes:
        """The pair as PKCS #8 writes it: to be wrapped, and shown to nobody."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def jwk(self) -> dict[str, str]:
        """The public key as RFC 7517 writes it."""
        return {**_required_members(self.public), "kid": self.kid, "use": "sig", "alg": "ES256"}


@dataclass(frozen=True, kw_only=True)
class KeyRing:
    """The keys in use at one moment: one of them signs, every one verifies."""

    signing: SigningKey
    public: Mapping[str, EllipticCurvePublicKey]
    jwks: bytes


def _coordinate(number: int) -> str:
    return base64url.encode(number.to_bytes(32, "big"))


def _required_members(public: EllipticCurvePublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}


def thumbprint(public: EllipticCurvePublicKey) -> str:
    """The key's id: the JWK thumbprint of RFC 7638."""
    members = orjson.dumps(_required_members(public), option=orjson.OPT_SORT_KEYS)
    return base64url.encode(sha256(members).digest())


def generate() -> SigningKey:
    """A new key."""
    private = generate_private_key(SECP256R1())
    return SigningKey(kid=thumbprint(private.public_key()), private=private)


def wrapped(key: SigningKey, wrapping: KeyWrapping) -> str:
    """The key as it is stored. It opens under its own id alone."""
    return wrapping.wrap(key.pem(), _place(key.kid))


def unwrapped(kid: str, text: str, wrapping: KeyWrapping) -> SigningKey:
    """The key of that id as it was stored. Raises :class:`~infra.errors.CannotUnwrap`."""
    pem = wrapping.unwrap(text, _place(kid))
    return SigningKey(kid=kid, private=cast(EllipticCurvePrivateKey, load_pem_private_key(pem, None)))


def _place(kid: str) -> str:
    return place_of("signing_keys", kid)


def key_ring(keys: Sequence[SigningKey]) -> KeyRing:
    """The ring of the given keys, the signing one first."""
    return KeyRing(
        signing=keys[0],
        public={key.kid: key.public for key in keys},
        jwks=orjson.dumps({"keys": [key.jwk() for key in keys]}),
    )


class SigningKeys:
    """One process's view of the ring: read on first need, when a token names an unknown key, and while it serves."""

    def __init__(
        self,
        database: Database,
        wrapping: KeyWrapping,
        *,
        reload_seconds: float = RELOAD_SECONDS,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._database = database
        self._wrapping = wrapping
        self._reload_seconds = reload_seconds
        self._fresh_seconds = fresh_seconds
        self._known: Mapping[str, SigningKey] = {}
        self._ring: KeyRing | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()
        self.gone = 0
        """How often keys have gone out of use: what they had signed is to be verified anew."""

    async def ring(self) -> KeyRing:
        """The keys in use; raises :class:`~infra.errors.Unavailable` if they were never read and cannot be now."""
        if self._ring is None:
            async with self._reading:
                if self._ring is None:
                    self._ring = await self._read()
        return self._ring

    async def signing(self) -> SigningKey:
        """The key to sign with now; raises :class:`~infra.errors.Unavailable` if that cannot be known."""
        return (await self._read_within(self._fresh_seconds)).signing

    def following(self) -> AbstractAsyncContextManager[None]:
        """Looks every two seconds until the block ends."""
        return repeating("follow signing keys", partial(self._read_within, 0.0), LOOK_SECONDS)

    async def public(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key of that id, or None where no such key is in use."""
        ring = await self.ring()
        if kid not in ring.public:
            ring = await self._read_within(self._reload_seconds)
        return ring.public.get(kid)

    async def _read_within(self, seconds: float) -> KeyRing:
        """The ring as it was read within the last ``seconds``, or as it is read now."""
        async with self._reading:
            if self._ring is None or asyncio.get_running_loop().time() - self._read_at >= seconds:
                self._ring = await self._read()
            return self._ring

    async def _read(self) -> KeyRing:
        asked_at = asyncio.get_running_loop().time()
        async with self._database.acquire() as connection:
            found = await connection.fetch(*_LIVE(), timeout=READ_SECONDS)
        if not found or any(row["wrapped"] is None for row in found):
            found = await self._settled()
        try:
            # What is known is not unwrapped again: it goes on to count while all are wrapped under another key.
            keys = [self._known.get(row["kid"]) or self._unwrapped(row) for row in found]
        except CannotUnwrap:
            # What others have put out of use is so here, too, even if nobody here can read what has come instead.
            left = [self._known[row["kid"]] for row in found if row["kid"] in self._known]
            if self._are_others(left):
                self._ring = key_ring(left) if left else None
            raise
        if self._are_others(keys) or self._ring is None:
            self._ring = key_ring(keys)
        self._read_at = asked_at
        return self._ring

    def _unwrapped(self, row: asyncpg.Record) -> SigningKey:
        return unwrapped(row["kid"], row["wrapped"], self._wrapping)

    def _are_others(self, keys: Sequence[SigningKey]) -> bool:
        """Takes down which keys are in use; answers whether they are others than before."""
        before, self._known = self._known, {key.kid: key for key in keys}
        self.gone += not before.keys() <= self._known.keys()
        return [*before.values()] != keys

    async def _settled(self) -> list[asyncpg.Record]:
        """Makes the first key, unless there are keys in clear, which are wrapped by now.

        Of several processes that try at once, one does and the others find it.
        """
        async with writing(self._database, self._wrapping) as connection:
            if not (rows := await connection.fetch(*_LIVE())):
                key = generate()
                await connection.execute(*_ADD(kid=key.kid, wrapped=wrapped(key, self._wrapping)))
                rows = await connection.fetch(*_LIVE())
            return rows
