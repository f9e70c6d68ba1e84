"""The keys that sign access tokens: rows shared by all processes, made on first need, published by half.

They take turns (:mod:`infra.key_rotation`): a new one is published and verifies at once, signs when every process has
surely heard of it, and then the one before verifies until its last token has expired. Nobody is refused on the way.
"""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final, cast

import orjson
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

from infra.database import Database
from infra.repeating import repeating

RELOAD_SECONDS: Final = 1.0
"""An unknown key id makes a process look again, at most this often: a stranger's token is no lever on Postgres."""

LOOK_SECONDS: Final = 2.0
"""How often a process that serves looks unasked."""

READ_SECONDS: Final = 1.0
"""How long a look may take before Postgres counts as down."""

FRESH_SECONDS: Final = 5.0
"""A process that has not looked for so long does so before it signs, for the key it knows may have retired."""

_LIVE: Final = (
    "SELECT kid, private_pem FROM signing_keys WHERE retired_at IS NULL OR retired_at > now()"
    " ORDER BY activates_at <= now() DESC, activates_at DESC, kid"
)
"""The one that signs comes first: of those whose time has come, the newest. Postgres's clock alone decides."""


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """An ES256 key pair; its repr shows the key id alone."""

    kid: str
    private: EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> EllipticCurvePublicKey:
        """The half that may be shown."""
        return self.private.public_key()

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
    return urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _required_members(public: EllipticCurvePublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}


def thumbprint(public: EllipticCurvePublicKey) -> str:
    """The key's id: the JWK thumbprint of RFC 7638."""
    members = orjson.dumps(_required_members(public), option=orjson.OPT_SORT_KEYS)
    return urlsafe_b64encode(sha256(members).digest()).rstrip(b"=").decode()


def key_ring(rows: Sequence[tuple[str, str]]) -> KeyRing:
    """The ring of the given key ids and PEM texts, the signing one first."""
    keys = [
        SigningKey(kid=kid, private=cast(EllipticCurvePrivateKey, load_pem_private_key(pem.encode(), None)))
        for kid, pem in rows
    ]
    return KeyRing(
        signing=keys[0],
        public={key.kid: key.public for key in keys},
        jwks=orjson.dumps({"keys": [key.jwk() for key in keys]}),
    )


class Keys:
    """One process's view of the ring: read on first need, when a token names an unknown key, and while it serves."""

    def __init__(
        self, database: Database, *, reload_seconds: float = RELOAD_SECONDS, fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        self._database = database
        self._reload_seconds = reload_seconds
        self._fresh_seconds = fresh_seconds
        self._rows: list[tuple[str, str]] = []
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
            found = await connection.fetch(_LIVE, timeout=READ_SECONDS)
        rows = [(row["kid"], row["private_pem"]) for row in found or await self._first()]
        if self._ring is None or rows != self._rows:
            known = self._ring.public.keys() if self._ring else set[str]()
            self._rows, self._ring = rows, key_ring(rows)
            self.gone += bool(known - self._ring.public.keys())
        self._read_at = asked_at
        return self._ring

    async def _first(self) -> list[Mapping[str, str]]:
        """Makes the first key; of several processes that try at once, one does and the others find it."""
        async with self._database.write() as connection:
            await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
            if not (rows := await connection.fetch(_LIVE)):
                kid, pem = generate()
                await connection.execute("INSERT INTO signing_keys (kid, private_pem) VALUES ($1, $2)", kid, pem)
                rows = await connection.fetch(_LIVE)
            return [dict(row) for row in rows]


def generate() -> tuple[str, str]:
    """A new key: its id and its PEM text."""
    private = generate_private_key(SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return thumbprint(private.public_key()), pem.decode()
