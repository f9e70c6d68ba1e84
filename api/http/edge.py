"""The edge: one pure ASGI layer between the server and the endpoints, around which nothing else is wrapped.

For each request it makes or takes the id, finds the route, counts it against its limit, answers hot reads from bytes,
reads the body within its policy, runs the endpoint, turns whatever goes wrong into a problem, says in each answer what
every answer says, counts, and writes one log line.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import chain, count
from time import perf_counter, time_ns
from typing import Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Problem, problem_answer, problem_of
from api.http.body_reader import ClientGone, check_head, counted, declares_body, drained, read_body
from api.http.compression import Compressor
from api.http.request_context import EXCHANGE, RequestState, malformed_header
from api.http.request_metrics import RequestMetrics
from api.http.response import RawResponse
from api.http.response_writer import Reply
from api.http.route_table import HotRead, Table, Target, method_of
from api.http.security_headers import Rules
from api.http.trusted_hosts import PROBES, check_host
from api.http.trusted_proxies import source_of
from api.rate_limits import Gates, class_of
from infra.observability.access_log import AccessLog
from infra.observability.logging import REQUEST_ID

CLIENT_GONE: Final = 499
POLICY_VIOLATION: Final = 1008
LONGEST_TARGET: Final = 8 * 1024
LONGEST_HEADERS: Final = 32 * 1024
"""Names and values together."""
MOST_HEADERS: Final = 128
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
        b"origin",
        b"x-api-key",
    }
)

_log = structlog.get_logger("weir.edge")


class Edge:
    """The ASGI application. ``app`` gets what is not HTTP: WebSockets and the lifespan."""

    def __init__(self, app: ASGIApp, table: Table, metrics: RequestMetrics, rules: Rules | None = None) -> None:
        self._app = app
        self._table = table
        self._metrics = metrics
        self._rules = rules or Rules()
        self._compressor = Compressor()
        self._access: AccessLog | None = None
        self._next_id = request_ids().__next__

    def log_to(self, access: AccessLog | None) -> None:
        """Where each request's line goes from now on."""
        self._access = access

    def heat(self, hot: Mapping[str, HotRead]) -> None:
        """From now on answer GETs of these templates from bytes; all others by their endpoints alone."""
        for method, target in self._table.targets():
            target.hot = hot.get(target.template) if method == "GET" else None

    def limit(self, gates: Gates) -> None:
        """From now on count the requests of each class of routes at its gate."""
        for method, target in self._table.targets():
            target.gate = gates.get(class_of(method, target.template))

    def routes(self) -> list[tuple[str, str]]:
        """Every method with its template."""
        return [(method, target.template) for method, target in self._table.targets()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        started = perf_counter()
        if self._rules.proxies is not None:
            self._rules.proxies.look_behind(scope)
        exchange = RequestState(dict(scope["headers"]), self._next_id)
        reply = Reply(send, exchange, scope["method"], self._rules, self._compressor)
        template, targets, args = self._table.find(scope["path"])
        try:
            # What memory can answer is answered before anything else is looked at.
            answer = self._at_hand(template, targets, args, exchange, scope)
            if answer is None:
                await self._serve(targets, args, exchange, reply, scope, receive)
            else:
                await reply.give(answer, shared=True)
        except (ClientGone, ClientDisconnect):
            reply.status = CLIENT_GONE
        except Exception as error:
            await _refuse(error, exchange, reply, receive)
        finally:
            self._note(scope, template, reply.status or 500, perf_counter() - started, exchange)

    def _at_hand(
        self, template: str, targets: dict[str, Target], args: tuple[str, ...], exchange: RequestState, scope: Scope
    ) -> RawResponse | None:
        """The answer from memory, if there is one. Before that, what every request has to pass; nothing waits here."""
        headers, hosts = exchange.headers, self._rules.hosts
        target = targets.get(scope["method"]) or (targets.get("GET") if scope["method"] == "HEAD" else None)
        if target is not None and target.gate is not None:
            exchange.visit = target.gate.enter(source_of(scope), headers)
            exchange.visit.begin()
        _check_request(scope, headers)
        if hosts is not None and template not in PROBES:
            hosts.check(headers)
        if target is None or declares_body(headers):
            return None
        if b"if-none-match" in headers:
            exchange.unmark()
        return None if target.hot is None else target.hot.now(args, headers, scope)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """WebSockets have a request id and a context like any request; what they say is their own affair."""
        if scope["type"] == "websocket":
            if self._rules.proxies is not None:
                self._rules.proxies.look_behind(scope)
            scope[EXCHANGE] = exchange = RequestState(dict(scope["headers"]), self._next_id)
            REQUEST_ID.set(exchange.request_id)
            if not self._is_for_us(exchange):
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                return
        await self._app(scope, receive, send)

    def _is_for_us(self, exchange: RequestState) -> bool:
        try:
            if self._rules.hosts is not None:
                self._rules.hosts.check(exchange.headers)
        except Problem:
            return False
        return True

    async def _serve(
        self,
        targets: dict[str, Target],
        args: tuple[str, ...],
        exchange: RequestState,
        reply: Reply,
        scope: Scope,
        receive: Receive,
    ) -> None:
        """Check, read, run, answer."""
        REQUEST_ID.set(exchange.request_id)
        scope["app"] = self._app
        scope[EXCHANGE] = exchange
        self._metrics.in_flight += 1
        try:
            answer = self._preflight(targets, exchange, scope) or await _answer(
                method_of(targets, scope["method"]), args, exchange, scope, receive
            )
            if isinstance(answer, RawResponse):
                await reply.give(answer)
            else:
                await answer(scope, receive, reply)
        finally:
            self._metrics.in_flight -= 1

    def _preflight(self, targets: dict[str, Target], exchange: RequestState, scope: Scope) -> RawResponse | None:
        cors = self._rules.cors
        return None if cors is None else cors.preflight(scope["method"], targets, exchange.headers)

    def _note(self, scope: Scope, template: str, status: int, seconds: float, exchange: RequestState) -> None:
        """Count the request and write its line."""
        method, exchange.status = scope["method"], status
        if exchange.visit is not None:
            exchange.visit.leave(exchange)
        self._metrics.observe(method if method in METHODS else "other", template, status, seconds)
        if self._access is not None:
            source = scope.get("client") or ("",)
            self._access.request(
                status, seconds, method, scope["path"], template, source[0], exchange.request_id, exchange.notes()
            )


def request_ids() -> Iterator[str]:
    """Ids in the form of UUIDv7 (RFC 9562): when the process began, random bits, and a count behind them."""
    bits = int.from_bytes(os.urandom(9), "big")
    head = f"{time_ns() // 1_000_000:012x}{0x7000 | bits & 0xFFF:04x}{0x8000 | bits >> 12 & 0x3FFF:04x}"
    head = f"{head[:8]}-{head[8:12]}-{head[12:16]}-{head[16:]}-"
    for number in count(bits >> 32):
        yield f"{head}{number:012x}"


def _check_request(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """What no route should have to deal with: absurd lengths, NUL, a header twice that may stand there once."""
    raw = scope["headers"]
    check_host(headers.get(b"host"), scope["http_version"])
    if len(scope["path"]) + len(scope["query_string"]) > LONGEST_TARGET:
        raise Problem("uri-too-long")
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise Problem("malformed-request", "The target contains NUL.")
    if len(headers) != len(raw):
        _check_repeated([name for name, _ in raw])
    if len(raw) > MOST_HEADERS or sum(map(len, chain.from_iterable(raw))) > LONGEST_HEADERS:
        raise Problem("headers-too-large")


def _check_repeated(names: list[bytes]) -> None:
    for name in SINGLE:
        if names.count(name) > 1:
            raise malformed_header(name)


async def _answer(
    target: Target, args: tuple[str, ...], exchange: RequestState, scope: Scope, receive: Receive
) -> RawResponse | Response:
    """From the hot read if it finds out, else from the endpoint."""
    headers, policy = exchange.headers, target.policy
    if target.hot is not None and not declares_body(headers):
        answer = await target.hot.soon(args, headers, scope)
        if answer is not None:
            return answer
    if policy.stream:
        if declares_body(headers):
            check_head(headers, policy)
        receive = counted(receive, policy, exchange.was_read)
    else:
        exchange.body = await read_body(headers, receive, policy)
        exchange.was_read()
    if exchange.visit is not None:
        await exchange.visit.admit(exchange.body)
    scope["path_params"] = dict(zip(target.names, args, strict=True))
    return await target.respond(Request(scope, receive), exchange.body)


async def _refuse(error: Exception, exchange: RequestState, reply: Reply, receive: Receive) -> None:
    """Turn whatever went wrong into a problem, once; a response already begun can only be broken off."""
    problem = problem_of(error, committed=exchange.committed)
    exchange.code = problem.code
    if problem_of(error).code == "internal":  # however it is told
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
