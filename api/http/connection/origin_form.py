"""HTTP/1.1 whose targets may be whole addresses: the host of a target is that of the request (RFC 9112, 3.2.2).

Nothing behind the connection would see it: a server tells its application the path, and the Host that came beside it.
"""

import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.policies.trusted_hosts import is_host

_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE)
_THE_SERVER: Final = b"*"
"""What ``OPTIONS`` may ask about (RFC 9112, 3.2.4)."""


class NoTarget(Exception):
    """The target is neither a path nor an address of this protocol."""


class OriginForm(HttpToolsProtocol):
    """Has each request's target and Host as though the target had come in origin form."""

    def on_headers_complete(self) -> None:
        """The head is complete. Raises :class:`NoTarget`."""
        if not self.url.startswith(b"/") and self.url != _THE_SERVER:
            self._take_apart()
        super().on_headers_complete()

    def _take_apart(self) -> None:
        address = _ABSOLUTE.fullmatch(self.url)
        if address is None:
            raise NoTarget
        host, rest = address.groups()
        self.url = rest if rest.startswith(b"/") else b"/" + rest
        given = [value for name, value in self.headers if name == b"host"]
        fewest = 0 if self.parser.get_http_version() == "1.0" else 1
        # A Host that is missing, is none or comes twice is refused as ever (RFC 9112, 3.2).
        if fewest <= len(given) <= 1 and all(map(is_host, given)):
            self.headers[:] = [*(header for header in self.headers if header[0] != b"host"), (b"host", host)]
