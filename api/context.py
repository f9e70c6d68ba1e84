"""What the edge knows about one request: its id, its conditions, and who asks."""

import hashlib
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from starlette.types import Scope

from api.errors import Problem

EXCHANGE: Final = "weir.exchange"
DEFAULT_WAIT: Final = 2.0
LONGEST_WAIT: Final = 10.0

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_TOKEN = re.compile(rb"[\x21-\x7e]{1,1024}")
_ETAG = re.compile(rb'"([1-9][0-9]{0,17})(?:-[0-9]{1,18})?"')
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_WAIT = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, and what they may do."""

    id: UUID
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One request's conditions. ``wait`` is in seconds; ``fingerprint`` is there when ``idempotency_key`` is."""

    request_id: str
    source: str
    traceparent: str | None
    idempotency_key: str | None
    fingerprint: bytes | None
    if_match: int | None
    if_none_match: str | None
    consistency_token: str | None
    wait: float
    principal: Principal | None = None


class Exchange:
    """The edge's own notes on a request in flight; ``headers`` holds each header once."""

    __slots__ = ("body", "code", "context", "headers", "read", "request_id")

    def __init__(self, request_id: str, headers: Mapping[bytes, bytes]) -> None:
        self.request_id = request_id
        self.headers = headers
        self.body = b""
        self.read = False
        self.code: str | None = None
        self.context: RequestContext | None = None


def context_of(scope: Scope) -> RequestContext:
    """The request's context, read from its headers when first asked for.

    Raises :class:`~api.errors.Problem` ``malformed-header`` for a header that does not keep its form.
    """
    exchange: Exchange = scope[EXCHANGE]
    if exchange.context is None:
        exchange.context = _read_context(scope, exchange)
    return exchange.context


def identify(scope: Scope, principal: Principal) -> RequestContext:
    """Note who asks. Everything that takes the context later sees it."""
    exchange: Exchange = scope[EXCHANGE]
    exchange.context = replace(context_of(scope), principal=principal)
    return exchange.context


def _read_context(scope: Scope, exchange: Exchange) -> RequestContext:
    headers = exchange.headers
    key = _visible(headers, b"idempotency-key", _KEY)
    client = scope.get("client")
    return RequestContext(
        request_id=exchange.request_id,
        source=client[0] if client else "",
        traceparent=_traceparent(headers.get(b"traceparent")),
        idempotency_key=key,
        fingerprint=_fingerprint(scope, exchange.body) if key else None,
        if_match=_version(headers.get(b"if-match")),
        if_none_match=_text(headers.get(b"if-none-match")),
        consistency_token=_visible(headers, b"consistency-token", _TOKEN),
        wait=_wait(headers.get(b"prefer")),
    )


def _visible(headers: Mapping[bytes, bytes], name: bytes, form: re.Pattern[bytes]) -> str | None:
    value = headers.get(name)
    if value is None:
        return None
    if not form.fullmatch(value):
        raise malformed_header(name)
    return value.decode("ascii")


def malformed_header(name: bytes) -> Problem:
    """The refusal of a header, by its name; its value is not repeated."""
    return Problem("malformed-header", f"The {name.decode('ascii').title()} header does not have its proper form.")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _traceparent(value: bytes | None) -> str | None:
    """A malformed traceparent is ignored, as W3C Trace Context asks."""
    if value is None or not _TRACEPARENT.fullmatch(value):
        return None
    return value.decode("ascii")


def _version(value: bytes | None) -> int | None:
    """``"<version>"``, or a document's tag, which begins with it; ``*`` asks for no particular one."""
    if value is None or value == b"*":
        return None
    match = _ETAG.fullmatch(value)
    if match is None:
        raise malformed_header(b"if-match")
    return int(match[1])


def _wait(value: bytes | None) -> float:
    """``Prefer: wait=<seconds>`` (RFC 7240); what cannot be read is no preference."""
    match = None if value is None else _WAIT.search(value)
    return DEFAULT_WAIT if match is None else min(float(match[1]), LONGEST_WAIT)


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    """Tells two requests under one key apart: method, path, query and body, with lengths so that parts cannot shift."""
    path, query = scope["path"].encode("utf-8", "surrogatepass"), scope["query_string"]
    head = b"%s %d %d " % (scope["method"].encode("ascii"), len(path), len(query))
    return hashlib.sha256(b"".join((head, path, query, body))).digest()
