"""The edge: one pure ASGI layer between the server and the endpoints, around which nothing else is wrapped.

For each request it makes or takes the id, finds the route, answers hot reads from bytes, reads the body within its
policy, runs the endpoint, turns whatever goes wrong into a problem, counts, and writes one log line.
"""

import re
from collections.abc import Mapping
from random import Random
from time import perf_counter, time_ns
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answers import Answer
from api.context import EXCHANGE, Exchange, malformed_header
from api.errors import Problem, problem_answer, problem_of
from api.guard import ClientGone, check_head, counted, drained, read_body
from api.routing import HotRead, Table, Target, method_of
from infra.metrics import RequestMetrics
from infra.telemetry import REQUEST_ID, AccessLog

CLIENT_GONE: Final = 499
LONGEST_TARGET: Final = 8 * 1024
LONGEST_HEADERS: Final = 32 * 1024
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
SINGLE: Final = frozenset(
    {
        b"authorization",
        b"consistency-token",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"x-api-key",
    }
)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_log = structlog.get_logger("weir.edge")


class Edge:
    """The ASGI application. ``app`` gets what is not HTTP: WebSockets and the lifespan."""

    def __init__(self, app: ASGIApp, table: Table, metrics: RequestMetrics) -> None:
        self._app = app
        self._table = table
        self._metrics = metrics
        self._access: AccessLog | None = None
        self._random = Random()  # noqa: S311 - request ids name requests, they guard nothing

    def log_to(self, access: AccessLog | None) -> None:
        """Where each request's line goes from now on."""
        self._access = access

    def heat(self, hot: Mapping[str, HotRead]) -> None:
        """From now on answer GETs of these templates from bytes; all others by their endpoints alone."""
        for method, target in self._table.targets():
            target.hot = hot.get(target.template) if method == "GET" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers = dict(scope["headers"])
        request_id = self._request_id(headers.get(b"x-request-id"))
        REQUEST_ID.set(request_id)
        scope["app"] = self._app
        exchange = scope[EXCHANGE] = Exchange(request_id, headers)
        reply = Reply(send, request_id)
        template, targets, args = self._table.find(scope["path"])
        self._metrics.in_flight += 1
        try:
            _check_target(scope, headers)
            target = method_of(targets, scope["method"])
            await reply.give(await _answer(target, args, exchange, scope, receive), scope, receive)
        except ClientGone:
            reply.status = CLIENT_GONE
        except Exception as error:
            await _refuse(error, exchange, reply, scope, receive)
        finally:
            self._metrics.in_flight -= 1
            self._note(scope, template, reply.status or 500, perf_counter() - started, exchange)

    def _request_id(self, given: bytes | None) -> str:
        """The client's id if it keeps the form, else one of ours, ordered by time as UUIDv7 is (RFC 9562)."""
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode("ascii")
        bits = self._random.getrandbits(74)
        head, tail = 0x7000 | bits >> 62, 0x8000000000000000 | bits & 0x3FFFFFFFFFFFFFFF
        digits = f"{time_ns() // 1_000_000:012x}{head:04x}{tail:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _note(self, scope: Scope, template: str, status: int, seconds: float, exchange: Exchange) -> None:
        """Count the request and write its line."""
        method = scope["method"]
        known = method if method in METHODS else "other"
        self._metrics.observe(known, template, status, seconds)
        if self._access is None:
            return
        client, context = scope.get("client"), exchange.context
        fields: dict[str, Any] = {
            "method": method,
            "path": scope["path"],
            "route": template,
            "ms": round(seconds * 1000, 3),
            "request_id": exchange.request_id,
            "source": client[0] if client else "",
        }
        if exchange.code is not None:
            fields["code"] = exchange.code
        if context is not None and context.principal is not None:
            fields["principal"] = context.principal.id
        self._access.request(status, fields)


class Reply:
    """The way back to the client; knows what has been said. Usable as ``send`` by a streaming response."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = (b"x-request-id", request_id.encode("ascii"))
        self.status = 0

    async def give(self, answer: Answer | Response, scope: Scope, receive: Receive) -> None:
        """Send a whole answer, or let a response send itself."""
        if not isinstance(answer, Answer):
            await answer(scope, receive, self)
            return
        status, headers, body = answer
        headers = [*headers, self._request_id]
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], self._request_id]}
        await self._send(message)


def _check_target(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """What no route should have to deal with: absurd lengths, NUL, a header twice that may stand there once."""
    raw = scope["headers"]
    if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        raise Problem("uri-too-long")
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise Problem("malformed-request", "The target contains NUL.")
    if len(headers) != len(raw):
        _check_repeated([name for name, _ in raw])
    if sum(map(len, headers.values())) > LONGEST_HEADERS:
        raise Problem("headers-too-large")


def _check_repeated(names: list[bytes]) -> None:
    for name in SINGLE:
        if names.count(name) > 1:
            raise malformed_header(name)


async def _answer(
    target: Target, args: tuple[str, ...], exchange: Exchange, scope: Scope, receive: Receive
) -> Answer | Response:
    """From the hot read if there is one that knows, else from the endpoint."""
    hot, headers = target.hot, exchange.headers
    if hot is not None:
        answer = hot.now(args, headers, scope) or await hot.soon(args, headers, scope)
        if answer is not None:
            return answer
    policy = target.policy
    if policy.stream:
        check_head(headers, policy)
        receive = counted(receive, policy)
    else:
        exchange.body = await read_body(headers, receive, policy)
        exchange.read = True
    scope["path_params"] = dict(zip(target.names, args, strict=True))
    return await target.respond(Request(scope, receive), exchange.body)


async def _refuse(error: Exception, exchange: Exchange, reply: Reply, scope: Scope, receive: Receive) -> None:
    """Turn whatever went wrong into a problem, once; a response already begun can only be broken off."""
    problem = problem_of(error)
    exchange.code = problem.code
    if problem.kind.status >= 500:
        trace = error if problem.code == "internal" else None
        _log.error("failed", code=problem.code, cause=repr(error), exc_info=trace)
    if reply.status:
        return
    answer = problem_answer(problem, exchange.request_id)
    if not (exchange.read or await drained(exchange.headers, receive)):
        answer.headers.append((b"connection", b"close"))
    await reply.give(answer, scope, receive)
