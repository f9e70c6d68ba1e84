"""The URL of a Redis: of one server, of the Sentinels that know the master, or of nodes of a cluster."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlencode, urlsplit

from pydantic import SecretStr

from infra.host.several_hosts import split

Place: TypeAlias = tuple[str, int]
"""A host and a port."""

SENTINEL_PORT: Final = 26379
REDIS_PORT: Final = 6379
OF_SENTINELS: Final = ("sentinel_username", "sentinel_password")


class Kind(Enum):
    """What stands behind a URL."""

    ONE = "one"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_KINDS: Final = {"redis+sentinel": Kind.SENTINEL, "rediss+sentinel": Kind.SENTINEL} | {
    "redis+cluster": Kind.CLUSTER,
    "rediss+cluster": Kind.CLUSTER,
}
SCHEMES: Final = ("redis", "rediss", "unix", *_KINDS)


def kind_of(url: SecretStr) -> Kind:
    """What stands behind it, by its scheme."""
    return _KINDS.get(url.get_secret_value().partition("://")[0], Kind.ONE)


@dataclass(frozen=True, kw_only=True)
class Way:
    """What the URL of several servers says: where to ask, for which master, and how to connect to what is named.

    The forms are those of others: ``redis+sentinel://[user:password@]host[:port][,host…]/master[/database]`` as in
    Redis-Sentinel-Url, redisvl and Prefect, with ``sentinel_username`` and ``sentinel_password`` for the Sentinels
    themselves; ``redis+cluster://[user:password@]host[:port][,host…]`` as in limits. ``rediss+…`` is with TLS.
    """

    scheme: str
    credentials: str = field(repr=False)
    places: tuple[Place, ...]
    master: str
    database: str
    query: str = field(repr=False)
    sentinel_credentials: str = field(repr=False)

    def server(self, host: str, port: int) -> SecretStr:
        """The URL of one server that holds data."""
        return self._url(self.credentials, host, port, self.database)

    def sentinel(self, host: str, port: int) -> SecretStr:
        """The URL of a Sentinel, which is connected to like a server, and knows no databases."""
        return self._url(self.sentinel_credentials, host, port, "")

    def _url(self, credentials: str, host: str, port: int, database: str) -> SecretStr:
        place = f"[{host}]" if ":" in host else host
        return SecretStr(f"{self.scheme}://{credentials}{place}:{port}/{database}{self.query}")


def way_of(url: SecretStr) -> Way:
    """Raises ``ValueError`` where it cannot be understood."""
    parts = split(url.get_secret_value())
    sentinel = kind_of(url) is Kind.SENTINEL
    credentials, at, hosts = parts.netloc.rpartition("@")
    asked = parse_qs(parts.query)
    known_by = [asked.pop(name, [""])[-1] for name in OF_SENTINELS]
    master, _, database = parts.path.lstrip("/").partition("/")
    if sentinel and not master:
        raise ValueError("must name the master that the Sentinels watch, such as /mymaster/0")
    return Way(
        scheme=parts.scheme.partition("+")[0],
        credentials=credentials + at,
        places=tuple(_place(each, SENTINEL_PORT if sentinel else REDIS_PORT) for each in hosts.split(",")),
        master=master if sentinel else "",
        database=database if sentinel else "",
        query=f"?{urlencode(asked, doseq=True)}" if asked else "",
        sentinel_credentials=":".join(known_by) + "@" if any(known_by) else "",
    )


def _place(place: str, usual: int) -> Place:
    each = urlsplit(f"//{place}")
    if not each.hostname:
        raise ValueError("must name a host")
    return each.hostname, each.port or usual


def place_of(server: SecretStr) -> Place:
    """The host and port in the URL of one server."""
    return _place(urlsplit(server.get_secret_value()).netloc.rpartition("@")[2], REDIS_PORT)
