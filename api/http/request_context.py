"""The context of one request: its id, its conditions, and who asks."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from starlette.types import Scope

from api.errors import Problem
from api.http.policies.entity_tags import versions
from api.http.principal import Principal
from api.http.request_metrics import RouteFigures
from api.http.response import Headers
from infra.observability.origin import Asking
from infra.observability.tracing import NOTHING, Span, trace_id

EXCHANGE: Final = "weir.exchange"
DEFAULT_WAIT: Final = 2.0
LONGEST_WAIT: Final = 10.0

GZIP_MARK: Final = b'-gz"'
"""How the tag of a compressed document ends: it is not, byte for byte, the document itself (RFC 9110, 8.8.3)."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_TOKEN = re.compile(rb"[\x21-\x7e]{1,1024}")
_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-[\x21-\x7e]{0,255})?"
)
_WAIT = re.compile(rb"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One request's conditions. ``wait`` is in seconds."""

    request_id: str
    source: str
    traceparent: str | None
    idempotency_key: str | None
    if_match: Sequence[int] | None
    consistency_token: str | None
    wait: float
    principal: Principal | None = None


class LimitTicket(Protocol):
    """One request as its route's limit counts it. What exceeds the limit is refused as ``too-many-requests``."""

    def begin(self) -> None:
        """Called first, before anything is answered. Must not wait."""

    def identified(self, principal: Principal) -> None:
        """It has turned out who asks."""

    async def admit(self, body: bytes) -> None:
        """Called once, before the endpoint. May wait for what all processes count together."""

    async def writes_to(self, address: str) -> None:
        """It has turned out to whom the request makes the shop write. May wait as ``admit`` does."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The RateLimit fields."""

    def leave(self, exchange: "RequestState") -> None:
        """The request is answered: its status and code are known."""


Recall = Callable[[Any], Awaitable[Any]]
"""Answers a request in the place of its endpoint: whoever sent it may be told again what it came to, and no more."""


class EndedSince(Problem):
    """The refusal of credentials that may have ended by the success of this very request: ``recall`` may answer it."""

    def __init__(self, refusal: Problem, recall: Recall) -> None:
        super().__init__(refusal.code, headers=refusal.raw_headers)
        self.recall = recall


class RequestState:
    """The edge's own notes on a request in flight; ``headers`` holds each header once."""

    __slots__ = (
        "body",
        "code",
        "committed",
        "context",
        "deprecation_headers",
        "figures",
        "headers",
        "marked",
        "open_ended",
        "principal",
        "read",
        "request_id",
        "span",
        "stand_in",
        "status",
        "visit",
    )

    def __init__(self, headers: dict[bytes, bytes], next_id: Callable[[], str]) -> None:
        given = headers.get(b"x-request-id")
        taken = given is not None and _REQUEST_ID.fullmatch(given) is not None
        self.request_id = given.decode("ascii") if given and taken else next_id()
        self.headers = headers
        self.body = b""
        self.stand_in: bytes | None = None
        self.read = False
        self.status = 0
        self.code: str | None = None
        self.context: RequestContext | None = None
        self.principal: Principal | None = None
        self.visit: LimitTicket | None = None
        self.deprecation_headers: Headers | None = None
        self.marked = False
        self.figures: RouteFigures | None = None
        self.open_ended = False
        self.span: Span = NOTHING
        self.committed = False
        """See :func:`note_commit`."""

    def was_read(self) -> None:
        """Nothing of the body is left on the line."""
        self.read = True

    def goes_on(self) -> None:
        """The answer has no end of its own: its request counts among those in progress no more."""
        if self.figures is not None and not self.open_ended:
            self.open_ended = True
            self.figures.in_progress -= 1

    def unmark(self) -> None:
        """Take the mark of compression from the tags that the client has, for whoever compares them."""
        tags = self.headers[b"if-none-match"]
        self.headers[b"if-none-match"] = plain = tags.replace(GZIP_MARK, b'"')
        self.marked = plain != tags

    def notes(self) -> dict[str, Any] | None:
        """What the request's log line should tell beyond the usual."""
        if self.code is None and self.principal is None and self.span is NOTHING:
            return None
        trace = {} if self.span.traceparent is None else {"trace_id": trace_id(self.span.traceparent)}
        return {"code": self.code, "account_id": self.principal and self.principal.id, **trace}

    def log_fields(self) -> Mapping[str, str]:
        """As :class:`~infra.observability.origin.Origin` says, with whoever it has turned out to be by now."""
        account = None if self.principal is None else str(self.principal.id)
        return Asking(request_id=self.request_id, account=account).log_fields()


def context_of(scope: Scope) -> RequestContext:
    """The request's context, read from its headers when first asked for.

    Raises :class:`~api.errors.Problem` ``malformed-header`` for a header that does not keep its form.
    """
    exchange: RequestState = scope[EXCHANGE]
    if exchange.context is None:
        exchange.context = _read_context(scope, exchange)
    return exchange.context


def note_commit(scope: Scope) -> None:
    """Something of the request is stored for good: :func:`api.errors.problem_of` says how a later failure is told."""
    exchange: RequestState = scope[EXCHANGE]
    exchange.committed = True


def stands_for(scope: Scope, part: bytes) -> None:
    """A part of what the request says, where its body as it came is not what an idempotency key can stand for: the
    digest of a body that the endpoint has read by itself; a body without its secrets, and what these have opened."""
    exchange: RequestState = scope[EXCHANGE]
    exchange.stand_in = (exchange.stand_in or b"") + part


def keyed(scope: Scope, key: str) -> None:
    """The idempotency key of a form, for a browser that sends no header with one."""
    exchange: RequestState = scope[EXCHANGE]
    exchange.context = replace(context_of(scope), idempotency_key=key)


def digest_of(scope: Scope) -> bytes:
    """Tells two requests under one key apart. A raw path has no space in it, nor a query a line end.

    It is never stored as it is, or whoever had it could try what they guess
    (:class:`api.commands.dispatcher.CommandDispatcher`).
    """
    exchange: RequestState = scope[EXCHANGE]
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
    head = b"%b %b?%b\n" % (scope["method"].encode("ascii"), path, scope["query_string"])
    return hashlib.sha256(head + (exchange.body if exchange.stand_in is None else exchange.stand_in)).digest()


def identify(scope: Scope, principal: Principal) -> None:
    """Note who asks. Everything that takes the context later sees it.

    Raises :class:`~api.errors.Problem` ``too-many-requests`` if they ask too much.
    """
    exchange: RequestState = scope[EXCHANGE]
    exchange.principal = principal
    if exchange.visit is not None:
        exchange.visit.identified(principal)
    if exchange.context is not None:
        exchange.context = replace(exchange.context, principal=principal)


def _read_context(scope: Scope, exchange: RequestState) -> RequestContext:
    """Most requests lack most of these headers, hence the checks before the calls."""
    get = exchange.headers.get
    key, token = get(b"idempotency-key"), get(b"consistency-token")
    tags, prefer = get(b"if-match"), get(b"prefer")
    client = scope.get("client")
    return RequestContext(
        request_id=exchange.request_id,
        source=client[0] if client else "",
        traceparent=exchange.span.traceparent or traceparent_of(exchange.headers),
        idempotency_key=None if key is None else _visible(key, b"idempotency-key", _KEY),
        if_match=None if tags is None else _versions(tags),
        consistency_token=None if token is None else _visible(token, b"consistency-token", _TOKEN),
        wait=DEFAULT_WAIT if prefer is None else _wait(prefer),
        principal=exchange.principal,
    )


def _visible(value: bytes, name: bytes, form: re.Pattern[bytes]) -> str:
    if not form.fullmatch(value):
        raise malformed_header(name)
    return value.decode("ascii")


def malformed_header(name: bytes) -> Problem:
    """The refusal of a header, by its name; its value is not repeated."""
    return Problem("malformed-header", f"The {name.decode('ascii').title()} header does not have its proper form.")


def traceparent_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Where the client's trace goes on. A malformed one is ignored, and of a later version what is known is taken, as
    W3C Trace Context asks."""
    value = headers.get(b"traceparent")
    found = None if value is None else _TRACEPARENT.fullmatch(value)
    if found is None or (found[1] == b"00" and len(value or b"") > found.end(2)):
        return None
    return f"00-{found[2].decode('ascii')}"


def _versions(value: bytes) -> Sequence[int] | None:
    """What is to be found, if anything in particular is: ``*`` asks for whatever is there."""
    if value == b"*":
        return None
    named = versions(value)
    if named is None:
        raise malformed_header(b"if-match")
    return named


def _wait(value: bytes) -> float:
    """``Prefer: wait=<seconds>`` (RFC 7240); what cannot be read is no preference."""
    match = _WAIT.search(value)
    return DEFAULT_WAIT if match is None else min(float(match[1]), LONGEST_WAIT)
