"""What the head of every request has to be, whatever is asked for, and whether or not a socket is to come of it."""

from collections.abc import Mapping
from itertools import chain
from typing import Final

from starlette.types import Scope

from api.errors import Problem
from api.http.policies.repeated_headers import refuse_repeated
from api.http.policies.trusted_hosts import check_host

LONGEST_TARGET: Final = 8 * 1024
LONGEST_URL: Final = 65_535
"""The same as it stands on the line, escapes and all: the parser of addresses counts in 16 bits."""
LONGEST_HEADERS: Final = 32 * 1024
"""Names and values together."""
MOST_HEADERS: Final = 128


def check_request(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Raises :class:`~api.errors.Problem` for what no route should have to deal with: absurd lengths, NUL, no host, and
    twice what may stand there once."""
    raw = scope["headers"]
    check_host(headers.get(b"host"), scope["http_version"])
    if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        raise Problem("uri-too-long")
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise Problem("malformed-request", "The target contains NUL.")
    if len(headers) != len(raw):
        refuse_repeated(raw)
    if len(raw) > MOST_HEADERS or sum(map(len, chain.from_iterable(raw))) > LONGEST_HEADERS:
        raise Problem("headers-too-large")
