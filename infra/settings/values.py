"""The kinds of values that settings have; each says in words what it must be."""

import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from domain.accounts.names import email_key
from domain.kernel.refusals import InvalidValue
from infra.locales import LANGUAGES, shipped
from infra.rate_limits.gcra import Rate

SHORTEST_KEY: Final = 16
"""Characters of a key that two machines share: 96 bits, written in base64."""
FEWEST_BYTES: Final = 8
"""Different bytes in a key. Random ones have never fewer; what somebody has typed often has."""
PUBLISHED: Final = frozenset({"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
"""Keys that stand in documentation, such as that of Standard Webhooks: everybody has them."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Form:
    """What a value must be, in words that go on behind *must be*."""

    text: str


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, where the name does not say so."""

    text: str


@dataclass(frozen=True, slots=True)
class Misgiven:
    """A value that could not even be read: the variable that should have led to it, what it said, and why not."""

    name: str
    given: str
    why: str


def in_development(info: ValidationInfo) -> bool:
    """Whether weak secrets are let through; also no where the environment itself is misspelt."""
    return info.data.get("environment") == "development"


def listed(value: Any) -> Any:
    """A list in the environment is written with commas."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _bytes_of(written: str) -> bytes:
    """What the base64 stands for; nothing where it is none."""
    return b64decode(written) if _BASE64.fullmatch(written) and len(written) % 4 == 0 else b""


def _guessable(key: bytes) -> bool:
    return len(set(key)) < FEWEST_BYTES


def _webhook_secret(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """Standard Webhooks 1.0: a key that could be guessed would let anybody say what is paid."""
    prefix, _, written = value.get_secret_value().partition("_")
    key = _bytes_of(written) if prefix == "whsec" else b""
    if not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 bytes")
    if not in_development(info) and (_guessable(key) or value.get_secret_value() in PUBLISHED):
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes of your own")
    return value


def _encryption_key(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """Random bytes and no password: nothing slows down whoever guesses at it."""
    key = _bytes_of(value.get_secret_value())
    if not 32 <= len(key) <= 64 or (_guessable(key) and not in_development(info)):
        raise ValueError("must be the base64 of 32 to 64 random bytes: openssl rand -base64 32")
    return value


def _shared_key(value: SecretStr, info: ValidationInfo) -> SecretStr:
    if not in_development(info) and len(value.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(f"must have {SHORTEST_KEY} characters at least")
    return value


def _admin_password(value: SecretStr, info: ValidationInfo) -> SecretStr:
    """The rule for everybody's password, told before anything has started."""
    from infra.identity.passwords import accepted  # only who names an admin needs the list of common ones

    with _refusing():
        accepted(value.get_secret_value(), own=(info.data.get("admin_email") or "", "admin"))
    return value


def _email(value: str) -> str:
    with _refusing():
        email_key(value)
    return value


@contextmanager
def _refusing() -> Iterator[None]:
    """A rule of the domain's as one of ours."""
    try:
        yield
    except InvalidValue as refusal:
        raise ValueError(str(refusal)) from None


def _sender(value: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(value)[1]):
        raise ValueError("must be an address, with or without a name before it: Shop <shop@shop.example>")
    return value


def _sentry_dsn(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[0-9A-Za-z]+(:[0-9A-Za-z]*)?@[^@/\s]+(/[^@\s]*)?/[0-9]+", value.get_secret_value()):
        raise ValueError("must be as Sentry shows it: https://key@sentry.example/1")
    return value


def _storage(value: str) -> str:
    if not re.fullmatch(r"file:///.*|s3://[^/@\s]+(/.*)?", value):
        raise ValueError("must be file:///folder or s3://bucket/prefix")
    return value


_HOST: Final = r"^(\*|(\*\.)?([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?)$"
_ENDPOINT: Final = r"^https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$"
_ORIGIN: Final = r"^https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?$"

SentryDsn = Annotated[
    SecretStr,
    AfterValidator(_sentry_dsn),
    Form("as Sentry shows it: https://key@sentry.example/1"),
]
Endpoint = Annotated[
    str, Field(pattern=_ENDPOINT), Form("http:// or https:// with a host in lower case: https://shop.example")
]
Hosts = Annotated[
    tuple[Annotated[str, Field(pattern=_HOST)], ...],
    NoDecode,
    BeforeValidator(listed),
    Form("hosts in lower case with commas between: shop.example, *.shop.example, or *"),
]
Origins = Annotated[
    tuple[Annotated[str, Field(pattern=_ORIGIN)], ...],
    NoDecode,
    BeforeValidator(listed),
    Form("origins with commas between, exactly as browsers write them: https://shop.example"),
]
Networks = Annotated[
    tuple[IPv4Network | IPv6Network, ...],
    NoDecode,
    BeforeValidator(listed),
    Form("addresses or networks with commas between: 10.0.0.0/8, ::1"),
]
Written = Annotated[Rate, NoDecode, Form("requests in a time, such as 10/20s, 3/15m or 50/1h")]
EncryptionKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_encryption_key)], ...],
    NoDecode,
    BeforeValidator(listed),
    Form("the base64 of 32 to 64 random bytes each, with commas between: openssl rand -base64 32"),
]
WebhookSecret = Annotated[
    SecretStr, AfterValidator(_webhook_secret), Form("whsec_ and the base64 of 24 to 64 random bytes")
]
SharedKey = Annotated[
    SecretStr, AfterValidator(_shared_key), Form(f"text; {SHORTEST_KEY} characters at least, outside development")
]
AdminPassword = Annotated[
    SecretStr, AfterValidator(_admin_password), Form("8 to 1024 characters, and none that others would try first")
]
Email = Annotated[str, AfterValidator(_email), Form("an email address")]
Sender = Annotated[
    str, AfterValidator(_sender), Form("an address, with or without a name before it: Shop <shop@shop.example>")
]
MailLanguage = Annotated[str, AfterValidator(shipped), Form(f"one of {', '.join(LANGUAGES)}")]
StorageUrl = Annotated[str, AfterValidator(_storage), Form("file:///folder or s3://bucket/prefix")]
