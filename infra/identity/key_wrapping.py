"""Key wrapping: the server's own secrets are encrypted by AES-256-GCM before Postgres gets them.

::

    v1.<id of the wrapping key>.<base64url of nonce, ciphertext and tag>

The form (``v1``) and the place that the text is for are authenticated beside the secret, so that it opens nowhere else.
The wrapping keys are derived (HKDF-SHA-256) from the secrets in ``WEIR_ENCRYPTION_KEYS``: the first wraps, all unwrap.
NIST SP 800-38D and 800-38F say what may be done with the cipher, OWASP ASVS 5 (11.3, 13.3) why it is.
"""

import os
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from infra.errors import CannotUnwrap, NoEncryptionKey

VERSION: Final = "v1"
NONCE_BYTES: Final = 12
"""Random. One wrapping key writes some rows in a year, and may write four thousand million (SP 800-38D, 8.3)."""


class KeyWrapping:
    """Wraps secrets and unwraps them; its repr shows nothing of the keys but their ids."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        """``keys`` as the setting has them, base64 each. Raises :class:`~infra.errors.NoEncryptionKey` for none."""
        if not keys:
            raise NoEncryptionKey
        secrets = [b64decode(key.get_secret_value()) for key in keys]
        self._ciphers = {_derived(secret, b"id", 8).hex(): AESGCM(_derived(secret, b"key", 32)) for secret in secrets}
        self._first = next(iter(self._ciphers))

    def __repr__(self) -> str:
        return f"KeyWrapping({', '.join(self._ciphers)})"

    def wrap(self, secret: bytes, place: str) -> str:
        """The secret, to be kept at that place and no other."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._first].encrypt(nonce, secret, _authenticated(place))
        return f"{VERSION}.{self._first}.{urlsafe_b64encode(nonce + sealed).decode()}"

    def is_first(self, text: str) -> bool:
        """Whether it is wrapped under the key that wraps now."""
        return text.startswith(f"{VERSION}.{self._first}.")

    def unwrap(self, text: str, place: str) -> bytes:
        """The secret. Raises :class:`~infra.errors.CannotUnwrap`, which says what is missing and shows nothing."""
        version, _, rest = text.partition(".")
        key_id, _, body = rest.partition(".")
        if version != VERSION:
            raise CannotUnwrap(f"{place} is wrapped in a form that this release does not know")
        if key_id not in self._ciphers:
            raise CannotUnwrap(f"{place} is wrapped under the key {key_id[:16]}, which is not in WEIR_ENCRYPTION_KEYS")
        try:
            sealed = urlsafe_b64decode(body)
            return self._ciphers[key_id].decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _authenticated(place))
        except (InvalidTag, ValueError):
            raise CannotUnwrap(f"{place} is not what was wrapped there") from None


def _authenticated(place: str) -> bytes:
    return f"{VERSION}\0{place}".encode()


def _derived(secret: bytes, what: bytes, length: int) -> bytes:
    """The secret is random and long: nothing has to make guessing at it slow."""
    return HKDF(SHA256(), length, salt=None, info=b"weir secrets at rest " + what).derive(secret)
