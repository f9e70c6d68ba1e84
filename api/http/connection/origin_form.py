"""Targets that are whole addresses: the host of a target is that of the request (RFC 9112, 3.2.2).

Nothing behind the connection would see it: a server tells its application the path, and the Host that came beside it.
"""

import re
from typing import Final

from api.http.policies.trusted_hosts import is_host

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_THE_SERVER: Final = b"*"
"""What ``OPTIONS`` may ask about (RFC 9112, 3.2.4)."""

Headers = list[tuple[bytes, bytes]]


class NoTarget(Exception):
    """The target is neither a path nor an address of this protocol."""


def origin_form(target: bytes, headers: Headers, version: str) -> tuple[bytes, Headers]:
    """A target that is no path, and its headers, as though it had come as one beside its ``Host``.

    Raises :class:`NoTarget`.
    """
    if target == _THE_SERVER:
        return target, headers
    address = _ABSOLUTE.fullmatch(target)
    if address is None:
        raise NoTarget
    host, rest = address.groups()
    path = rest if rest.startswith(b"/") else b"/" + rest
    given = [value for name, value in headers if name == b"host"]
    if (not given and version != "1.0") or len(given) > 1 or not all(map(is_host, given)):
        return path, headers  # refused as ever (RFC 9112, 3.2)
    return path, [*(header for header in headers if header[0] != b"host"), (b"host", host)]
