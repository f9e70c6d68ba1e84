"""Whose scripts may call from a browser: exact origins, and never with cookies, of which the API has none.

An origin that is not listed is treated as though there were no CORS: its preflight finds no such method. Starlette's
``CORSMiddleware`` would tell it 400, promise every path the methods of all, and stand in the way of hot reads.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from api.errors import Problem
from api.http.response import Headers, RawResponse

EXPOSED: Final = (
    "Consistency-Token",
    "Deprecation",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "WWW-Authenticate",
    "X-Request-ID",
)
TAKEN: Final = (
    "Authorization",
    "Consistency-Token",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Traceparent",
    "X-API-Key",
    "X-Request-ID",
)
REMEMBERED_SECONDS: Final = 7200

_EXPOSE: Final = (b"access-control-expose-headers", ", ".join(EXPOSED).encode("ascii"))
_ASKED: Final = b"access-control-request-method"


class Cors:
    """The allowed origins."""

    def __init__(self, origins: Iterable[str]) -> None:
        names = [origin.encode("ascii") for origin in origins]
        self._headers: Mapping[bytes, Headers] = {
            name: [(b"access-control-allow-origin", name), _EXPOSE] for name in names
        }

    def headers(self, asked: Mapping[bytes, bytes]) -> Headers:
        """What an answer says to the origin that asked; nothing to a stranger."""
        origin = asked.get(b"origin")
        return [] if origin is None else self._headers.get(origin, [])

    def knows(self, origin: bytes) -> bool:
        """Whether its scripts may call."""
        return origin in self._headers

    def preflight(self, method: str, methods: Iterable[str], asked: Mapping[bytes, bytes]) -> RawResponse | None:
        """The answer to a browser that asks beforehand (Fetch standard, 3.2.2); None if this is not one of ours."""
        if method != "OPTIONS" or _ASKED not in asked or asked.get(b"origin") not in self._headers:
            return None
        allowed = sorted({*methods, *(["HEAD"] if "GET" in methods else [])})
        if not allowed:
            return None
        headers: Headers = [
            (b"access-control-allow-methods", ", ".join(allowed).encode("ascii")),
            (b"access-control-allow-headers", ", ".join(TAKEN).encode("ascii")),
            (b"access-control-max-age", b"%d" % REMEMBERED_SECONDS),
        ]
        return RawResponse(204, headers)


def check_origin(asked: Mapping[bytes, bytes], cors: Cors | None) -> None:
    """Raises :class:`~api.errors.Problem` ``foreign-origin`` for a socket that a page of a strange site asks for: one
    that is named (RFC 6454), and neither our own nor one of those allowed.

    A browser opens a socket to anybody for any page, and asks nobody beforehand.
    """
    origin = asked.get(b"origin")
    if origin is None or origin.partition(b"://")[2].lower() == asked.get(b"host", b"").lower() != b"":
        return
    if cors is None or not cors.knows(origin):
        raise Problem("foreign-origin")
