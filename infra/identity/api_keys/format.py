"""The format of API keys: letters and digits, so that a double click takes it whole."""

import re
import secrets
from hashlib import sha256
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

ALPHABET: Final = digits + ascii_uppercase + ascii_lowercase
LENGTH: Final = 77

_ID, _SECRET, _CHECKSUM = 22, 43, 6
_FORM: Final = re.compile(r"weir_([0-9A-Za-z]{22})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_VALUES: Final = {letter: value for value, letter in enumerate(ALPHABET)}


class InvalidApiKey(Exception):
    """This is no API key, or not one that is good now. It never says which."""


class Shown(NamedTuple):
    """What a well-formed key says: which row to look at, and the digest that should be there."""

    key_id: UUID
    digest: bytes


class Fresh(NamedTuple):
    """A new key: its text, to be shown once, and the digest to keep."""

    text: str
    digest: bytes

    def __repr__(self) -> str:
        return "Fresh()"


def fresh(key_id: UUID) -> Fresh:
    """A key for the row of that id."""
    secret = _written(int.from_bytes(secrets.token_bytes(32), "big"), _SECRET)
    body = f"{prefix_of(key_id)}_{secret}"
    return Fresh(body + _checksum(body), _digest(secret))


def prefix_of(key_id: UUID) -> str:
    """What of a key may be shown."""
    return f"weir_{_written(key_id.int, _ID)}"


def read(text: str) -> Shown:
    """Raises :class:`InvalidApiKey` for what was never a key."""
    found = _FORM.fullmatch(text) if len(text) == LENGTH else None
    if found is None or _checksum(text[:-_CHECKSUM]) != found[3]:
        raise InvalidApiKey
    number = _number(found[1])
    if number >> 128:
        raise InvalidApiKey
    return Shown(UUID(int=number), _digest(found[2]))


def _checksum(body: str) -> str:
    return _written(crc32(body.encode("ascii")), _CHECKSUM)


def _digest(secret: str) -> bytes:
    """No slow hash: there is nothing to guess in 256 random bits."""
    return sha256(secret.encode("ascii")).digest()


def _written(number: int, length: int) -> str:
    letters = []
    for _ in range(length):
        number, value = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[value])
    return "".join(reversed(letters))


def _number(text: str) -> int:
    number = 0
    for letter in text:
        number = number * len(ALPHABET) + _VALUES[letter]
    return number
