"""Large answers made small (gzip), and their tags, which must not be those of the same document in full.

Only answers to GET are compressed. Those that carry a secret (tokens, API keys) are answers to POST, so that their size
tells nobody anything about it (BREACH); and no cookie of ours would make a browser fetch them for a stranger's page.
"""

import gzip
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from anyio import to_thread

from api.http.request_context import GZIP_MARK
from api.http.response import Headers, RawResponse
from infra.host.exhaustion import is_exhaustion

SMALLEST: Final = 1024
LARGEST: Final = 4 * 1024 * 1024
LARGEST_AT_ONCE: Final = 16 * 1024
"""Bytes that are compressed on the spot; more is left to a thread, and sent as it is if both are busy."""

THREADS: Final = 2
LEVEL: Final = 5
KEPT_BYTES: Final = 16 * 1024 * 1024

_MEDIA: Final = (b"application/json", b"application/problem+json", b"text/")
_ENCODED: Final = (b"content-encoding", b"gzip")


@lru_cache(256)
def _wants(accept_encoding: bytes) -> bool:
    """Whether gzip is named and not refused (RFC 9110, 12.5.3)."""
    for part in accept_encoding.lower().split(b","):
        coding, _, quality = part.strip().partition(b";")
        if coding.strip() in (b"gzip", b"x-gzip"):
            return quality.replace(b" ", b"").removeprefix(b"q=").strip(b"0.") != b"" or not quality
    return False


def wants_gzip(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client takes gzip."""
    accepted = headers.get(b"accept-encoding")
    return accepted is not None and len(accepted) <= 200 and _wants(accepted)


def is_worth_it(answer: RawResponse) -> bool:
    """Whether the answer is large, a text, and not yet encoded."""
    if answer.status != 200 or not SMALLEST <= len(answer.body) <= LARGEST:
        return False
    named = dict(answer.headers)
    return named.get(b"content-type", b"").startswith(_MEDIA) and b"content-encoding" not in named


def with_mark(headers: Headers) -> Headers:
    """The headers of the compressed form, whose tag differs."""
    return [(name, value[:-1] + GZIP_MARK if name == b"etag" else value) for name, value in headers]


class Compressor:
    """Compresses, and remembers the compressed form of answers that are given again and again."""

    def __init__(self, *, kept: int = KEPT_BYTES) -> None:
        self._kept = kept
        self._size = 0
        self._known: OrderedDict[int, tuple[bytes, bytes]] = OrderedDict()
        self._busy = 0

    async def compressed(self, answer: RawResponse, *, shared: bool) -> RawResponse:
        """The answer, compressed if there is somebody to do it. ``shared`` answers will come again."""
        body = await self._squeeze(answer.body, shared=shared)
        return answer if body is None else RawResponse(answer.status, [*with_mark(answer.headers), _ENCODED], body)

    async def _squeeze(self, body: bytes, *, shared: bool) -> bytes | None:
        known = self._known.get(id(body))
        if known is not None and known[0] is body:
            self._known.move_to_end(id(body))
            return known[1]
        if len(body) <= LARGEST_AT_ONCE:
            small: bytes | None = gzip.compress(body, LEVEL, mtime=0)
        else:
            small = await self._in_thread(body) if self._busy < THREADS else None
        if shared and small is not None:
            self._keep(body, small)
        return small

    async def _in_thread(self, body: bytes) -> bytes | None:
        self._busy += 1
        try:
            return await to_thread.run_sync(lambda: gzip.compress(body, LEVEL, mtime=0))
        except Exception as error:
            if is_exhaustion(error):  # no thread is to be had, or no memory: it is sent as it is
                return None
            raise
        finally:
            self._busy -= 1

    def _keep(self, body: bytes, small: bytes) -> None:
        """The body is kept with it: as long as it lives, nothing else has its identity."""
        self._known[id(body)] = (body, small)
        self._size += len(body) + len(small)
        while self._size > self._kept:
            _, gone = self._known.popitem(last=False)
            self._size -= len(gone[0]) + len(gone[1])
