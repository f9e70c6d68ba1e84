"""The names under which the API may be asked for: a request for another one is misdirected (RFC 9110, 15.5.20)."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from api.context import malformed_header
from api.errors import Problem

ANY: Final = "*"
PROBES: Final = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""What asks for these knows an address and no name."""

_HOST: Final = re.compile(r"([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?")


class Hosts:
    """``shop.example`` with any port, ``shop.example:8443`` with that one, ``*.shop.example`` whatever is before it."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._exact = frozenset(host for host in allowed if not host.startswith("*"))
        self._suffixes = tuple(host[1:] for host in allowed if host.startswith("*."))
        self._serves = lru_cache(1024)(self._is_served)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises :class:`~api.errors.Problem` ``unknown-host``, or ``malformed-header`` if there is none."""
        host = headers.get(b"host", b"")
        if len(host) > 300 or not self._serves(host):
            raise Problem("unknown-host") if host else malformed_header(b"host")

    def _is_served(self, host: bytes) -> bool:
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        if match is None:
            return False
        name, port = match[1].removesuffix("."), match[2] or ""
        return any(
            one in self._exact or (bool(self._suffixes) and one.endswith(self._suffixes)) for one in (name, name + port)
        )
