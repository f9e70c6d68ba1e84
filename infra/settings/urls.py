"""The URLs of servers: whether they can be understood, before anybody tries to connect, and how they are shown."""

import os
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import AfterValidator, SecretStr, ValidationInfo

from infra.host.several_hosts import split
from infra.settings.values import Form, in_development

SHORTEST_PASSWORD: Final = 8
"""NIST SP 800-63B-4, 3.1.1.2, for a secret that is not the only one: who guesses must also be in the network."""
SHIPPED: Final = frozenset({"weir", "password", "postgres", "postgresql", "redis", "valkey", "changeme", "changeit"})
"""Passwords of images, examples and our own compose.yaml."""

_ESCAPES: Final = "in a password / ? # @ are written %2F %3F %23 %40"
_CREDENTIALS: Final = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^&]*", re.DOTALL)
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_SSL_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})


def masked(url: str) -> str:
    """The URL as it may be shown: without user and password, if it has them."""
    return _CREDENTIALS.sub("***", url)


def address_of(url: str) -> str:
    """Host, port and database of a server's URL; neither its user nor its password."""
    parts = split(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def place_of(url: str) -> str | None:
    """Where the URL of a server leads, without user, password and query; None where that cannot be told apart."""
    try:
        parts = _split(url)
        for _ in _places(parts):
            pass
    except ValueError:
        return None
    if not parts.netloc:
        return None
    return f"{parts.scheme}://{'***@' if '@' in parts.netloc else ''}{address_of(url)}"


def _server(*schemes: str, host: bool = False) -> Callable[[SecretStr, ValidationInfo], SecretStr]:
    def check(value: SecretStr, info: ValidationInfo) -> SecretStr:
        parts = _split(value.get_secret_value())
        if parts.scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        places = list(_places(parts))
        if host and not all(name for name, _ in places):
            raise ValueError("must name a host")
        if not in_development(info):
            _insist_on_a_password_that_is_one(parts)
        return value

    return check


def _split(url: str) -> SplitResult:
    try:
        return split(url)
    except ValueError:
        raise ValueError(f"cannot be understood; {_ESCAPES}") from None


def _places(parts: SplitResult) -> Iterator[tuple[str | None, int | None]]:
    """Its hosts and ports; of Postgres there may be several, with commas between."""
    for place in parts.netloc.rpartition("@")[2].split(","):
        try:
            each = urlsplit(f"//{place}")
            yield each.hostname, each.port
        except ValueError:
            raise ValueError(f"has a port that is no number from 0 to 65535; {_ESCAPES}") from None


def _insist_on_a_password_that_is_one(parts: SplitResult) -> None:
    """Where there is one; a server may know us by other means."""
    password, user = unquote(parts.password or ""), unquote(parts.username or "")
    if not password:
        return
    if len(password) < SHORTEST_PASSWORD:
        raise ValueError(f"has a password of fewer than {SHORTEST_PASSWORD} characters")
    if password.casefold() in SHIPPED or password.casefold() == user.casefold():
        raise ValueError("has a password that everybody tries first")


def _usable_for_tls(value: SecretStr) -> SecretStr:
    """The driver would say of a file that is missing that there is no such file, and not which."""
    query = parse_qs(split(value.get_secret_value()).query)
    for mode in query.get("sslmode", []):
        if mode not in _SSL_MODES:
            raise ValueError(f"has an sslmode that is none of {', '.join(sorted(_SSL_MODES))}")
    for name in _SSL_FILES & query.keys():
        if not os.access(query[name][-1], os.R_OK):
            raise ValueError(f"has an {name} that is no file that can be read")
    return value


def _numbered(value: SecretStr) -> SecretStr:
    """redis-py would take any other path for database 0."""
    parts = split(value.get_secret_value())
    kind = "" if parts.scheme == "unix" else parts.scheme.partition("+")[2] or "one"
    form, what = _REDIS_PATHS.get(kind, (".*", ""))
    if not re.fullmatch(form, parts.path):
        raise ValueError(what)
    return value


_REDIS_PATHS: Final = {
    "one": (r"/?[0-9]*", "must end in the number of a database, such as /0"),
    "sentinel": (r"/[^/]+(/[0-9]*)?", "must end in the master that the Sentinels watch, such as /mymaster/0"),
    "cluster": (r"/?", "must end with its nodes: a cluster has no databases"),
}


def _where_arq_can_be(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """arq names keys of several slots in one command."""
    found = value or info.data.get("redis_url")
    if found is not None and split(found.get_secret_value()).scheme.endswith("+cluster"):
        raise ValueError("must name one server, or Sentinels: arq's jobs cannot be in a cluster")
    return value


PostgresUrl = Annotated[
    SecretStr,
    AfterValidator(_server("postgresql", "postgres", "postgresql+asyncpg")),
    AfterValidator(_usable_for_tls),
    Form("postgresql://[user:password@]host[:port][,host…]/database[?sslmode=…]"),
]
_SERVERS: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
RedisUrl = Annotated[
    SecretStr,
    AfterValidator(_server(*_SERVERS)),
    AfterValidator(_numbered),
    Form(
        "redis://[user:password@]host[:port]/number, redis+sentinel://…host[:port][,host…]/master/number or "
        "redis+cluster://…host[:port][,host…]; with rediss for TLS"
    ),
]
ArqUrl = Annotated[RedisUrl | None, AfterValidator(_where_arq_can_be)]
SmtpUrl = Annotated[
    SecretStr,
    AfterValidator(_server("smtp", "starttls", "smtps", host=True)),
    Form("smtp://, starttls:// or smtps://, then [user:password@]host[:port]"),
]
