"""URLs that may name several hosts, with commas between, as libpq, Sentinels and clusters have them."""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_NETLOC: Final = re.compile(r"(?<=//)[^/?#]*")


class Server(NamedTuple):
    """Where a server may be. Without a host the driver looks where it looks by itself: ``PGHOST``, a local socket."""

    host: str | None = None
    port: int | None = None

    def arguments(self) -> dict[str, Any]:
        """As the driver takes it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def split(url: str) -> SplitResult:
    """As ``urllib.parse.urlsplit``, which is shown one host after the other: newer ones take a bracket behind a comma
    for a broken address. Raises ``ValueError`` where that does.
    """
    found = _NETLOC.search(url)
    credentials, at, hosts = found[0].rpartition("@") if found else ("", "", "")
    if found is None or "," not in hosts:
        return urlsplit(url)
    shown = [
        urlsplit(f"{url[: found.start()]}{credentials}{at}{each}{url[found.end() :]}") for each in hosts.split(",")
    ]
    return shown[0]._replace(netloc=found[0])


def servers(dsn: str) -> list[Server]:
    """The servers that the URL names, in its order: ``host[:port],…`` behind the user, or in its query."""
    parts = split(dsn)
    query = parse_qs(parts.query)
    listed = parts.netloc.rpartition("@")[2] or ",".join(query.get("host", [])[-1:])
    ports = query.get("port", [""])[-1].split(",")
    named = [_server(place) for place in listed.split(",")]
    shared = ports * len(named) if len(ports) == 1 else ports
    return [
        server if server.port or not port else server._replace(port=int(port))
        for server, port in zip(named, shared, strict=True)
    ]


def _server(place: str) -> Server:
    host, port = place, ""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    elif not place.startswith("/"):
        host, _, port = place.partition(":")
    return Server(unquote(host) or None, int(port) if port else None)
