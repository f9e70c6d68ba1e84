"""The edge: one pure ASGI layer between the server and the endpoints, around which nothing else is wrapped.

For each request it makes or takes the id, finds the route, answers hot reads from bytes, reads the body within its
policy, runs the endpoint, turns whatever goes wrong into a problem, counts, and writes one log line.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import count
from time import perf_counter, time_ns
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
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

_log = structlog.get_logger("weir.edge")


class Edge:
    """The ASGI application. ``app`` gets what is not HTTP: WebSockets and the lifespan."""

    def __init__(self, app: ASGIApp, table: Table, metrics: RequestMetrics) -> None:
        self._app = app
        self._table = table
        self._metrics = metrics
        self._access: AccessLog | None = None
        self._next_id = request_ids().__next__

    def log_to(self, access: AccessLog | None) -> None:
        """Where each request's line goes from now on."""
        self._access = access

    def heat(self, hot: Mapping[str, HotRead]) -> None:
        """From now on answer GETs of these templates from bytes; all others by their endpoints alone."""
        for method, target in self._table.targets():
            target.hot = hot.get(target.template) if method == "GET" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        started = perf_counter()
        exchange = Exchange(dict(scope["headers"]), self._next_id)
        reply = Reply(send, exchange.request_id)
        template, targets, args = self._table.find(scope["path"])
        try:
            # What memory can answer is answered before anything else is looked at.
            target = targets.get(scope["method"])
            answer = target.hot.now(args, exchange.headers, scope) if target and target.hot else None
            if answer is None:
                await self._serve(targets, args, exchange, reply, scope, receive)
            else:
                await reply.give(answer)
        except (ClientGone, ClientDisconnect):
            reply.status = CLIENT_GONE
        except Exception as error:
            await _refuse(error, exchange, reply, receive)
        finally:
            self._note(scope, template, reply.status or 500, perf_counter() - started, exchange)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """WebSockets have a request id and a context like any request; what they say is their own affair."""
        if scope["type"] == "websocket":
            scope[EXCHANGE] = exchange = Exchange(dict(scope["headers"]), self._next_id)
            REQUEST_ID.set(exchange.request_id)
        await self._app(scope, receive, send)

    async def _serve(
        self,
        targets: dict[str, Target],
        args: tuple[str, ...],
        exchange: Exchange,
        reply: "Reply",
        scope: Scope,
        receive: Receive,
    ) -> None:
        """Check, read, run, answer."""
        REQUEST_ID.set(exchange.request_id)
        scope["app"] = self._app
        scope[EXCHANGE] = exchange
        self._metrics.in_flight += 1
        try:
            _check_target(scope, exchange.headers)
            target = method_of(targets, scope["method"])
            answer = await _answer(target, args, exchange, scope, receive)
            if isinstance(answer, Answer):
                await reply.give(answer)
            else:
                await answer(scope, receive, reply)
        finally:
            self._metrics.in_flight -= 1

    def _note(self, scope: Scope, template: str, status: int, seconds: float, exchange: Exchange) -> None:
        """Count the request and write its line."""
        method = scope["method"]
        self._metrics.observe(method if method in METHODS else "other", template, status, seconds)
        if self._access is not None:
            source = scope.get("client") or ("",)
            self._access.request(
                status, seconds, method, scope["path"], template, source[0], exchange.request_id, exchange.notes()
            )


class Reply:
    """The way back to the client; knows what has been said. Usable as ``send`` by a streaming response."""

    __slots__ = ("_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = (b"x-request-id", request_id.encode("ascii"))
        self.status = 0

    async def give(self, answer: Answer) -> None:
        """Send a whole answer."""
        self.status, headers, body = answer
        headers = [*headers, self._request_id]
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.start", "status": self.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], self._request_id]}
        await self._send(message)


def request_ids() -> Iterator[str]:
    """Ids in the form of UUIDv7 (RFC 9562): when the process began, random bits, and a count behind them."""
    bits = int.from_bytes(os.urandom(9), "big")
    head = f"{time_ns() // 1_000_000:012x}{0x7000 | bits & 0xFFF:04x}{0x8000 | bits >> 12 & 0x3FFF:04x}"
    head = f"{head[:8]}-{head[8:12]}-{head[12:16]}-{head[16:]}-"
    for number in count(bits >> 32):
        yield f"{head}{number:012x}"


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
    """From the hot read if it finds out, else from the endpoint."""
    headers, policy = exchange.headers, target.policy
    if target.hot is not None:
        answer = await target.hot.soon(args, headers, scope)
        if answer is not None:
            return answer
    if policy.stream:
        check_head(headers, policy)
        receive = counted(receive, policy)
    else:
        exchange.body = await read_body(headers, receive, policy)
        exchange.read = True
    scope["path_params"] = dict(zip(target.names, args, strict=True))
    return await target.respond(Request(scope, receive), exchange.body)


async def _refuse(error: Exception, exchange: Exchange, reply: Reply, receive: Receive) -> None:
    """Turn whatever went wrong into a problem, once; a response already begun can only be broken off."""
    problem = problem_of(error)
    exchange.code = problem.code
    if problem.code == "internal":
        _log.error("failed", code=problem.code, exc_info=error)
    elif problem.kind.status >= 500:
        _log.warning("failed", code=problem.code, cause=repr(error.__cause__ or error))
    if reply.status:
        return
    answer = problem_answer(problem, exchange.request_id)
    slow = problem.code == "request-timeout"
    if slow or not (exchange.read or await drained(exchange.headers, receive)):
        answer.headers.append((b"connection", b"close"))
    await reply.give(answer)
