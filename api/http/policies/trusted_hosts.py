"""The names under which the API may be asked for: a request for another one is misdirected (RFC 9110, 15.5.20).

What is no name at all is refused whatever may be asked for (RFC 9112, 3.2). Starlette's ``TrustedHostMiddleware`` would
answer 400 in plain text, turn away probes that know an address alone, and cannot ask for a certain port.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from api.errors import Problem
from api.http.request_context import malformed_header

ANY: Final = "*"
PROBES: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""What asks for these knows an address and no name."""

LONGEST: Final = 300
_NAMED: Final = r"([a-z0-9_.-]{1,253}|\[[^\[\]@/]{2,253}\])"
_HOST: Final = re.compile(_NAMED + r"(:[0-9]{1,5})?")
_WRITTEN: Final = re.compile(_NAMED + r"(:[0-9]{0,5})?")
"""RFC 3986, 3.2.3: behind the colon there may be nothing."""
_LARGEST_PORT: Final = 65_535
_IPV6: Final = re.compile(r"[0-9a-f:.]+")
"""Without a zone, which means something to its own host alone."""
_IPV_FUTURE: Final = re.compile(r"v[0-9a-f]+\.[a-z0-9._~!$&'()*+,;=:-]+")


def is_host(host: bytes) -> bool:
    """Whether it is a name or an address, with or without a port (RFC 3986, 3.2.2)."""
    return len(host) <= LONGEST and _is_host(host)


@lru_cache(1024)
def _is_host(host: bytes) -> bool:
    match = _WRITTEN.fullmatch(host.decode("latin-1").lower())
    if match is None or int((match[2] or "")[1:] or 0) > _LARGEST_PORT:
        return False
    return match[1][0] != "[" or _is_literal(match[1][1:-1])


def _is_literal(text: str) -> bool:
    if not _IPV6.fullmatch(text):
        return _IPV_FUTURE.fullmatch(text) is not None
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def check_host(host: bytes | None, http_version: str) -> None:
    """Raises :class:`~api.errors.Problem` ``malformed-header``. Only HTTP/1.0 may come without one."""
    if host is None and http_version == "1.0":
        return
    if host is None or not is_host(host):
        raise malformed_header(b"host")


class Hosts:
    """``shop.example`` with any port, ``shop.example:8443`` with that one, ``*.shop.example`` whatever is before it."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._exact = frozenset(host for host in allowed if not host.startswith("*"))
        self._suffixes = tuple(host[1:] for host in allowed if host.startswith("*."))
        self._serves = lru_cache(1024)(self._is_served)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises :class:`~api.errors.Problem` ``unknown-host``."""
        if not self._serves(headers.get(b"host", b"")):
            raise Problem("unknown-host")

    def _is_served(self, host: bytes) -> bool:
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name, port = match[1].removesuffix("."), match[2] or ""
        return any(
            one in self._exact or (bool(self._suffixes) and one.endswith(self._suffixes)) for one in (name, name + port)
        )
