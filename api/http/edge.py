"""The edge: pure ASGI middleware between the server and the application, with all that no route can be without.

For each request it makes or takes the id, finds the route, counts it against its limit, answers hot reads from bytes,
reads the body within its policy, has FastAPI run the endpoint, turns whatever goes wrong into a problem, says in each
answer what every answer says, counts, and writes one log line.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from time import perf_counter, time_ns
from typing import Final

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import answered, handles_errors, problem_answer, problem_of
from api.http.body_reader import (
    ANY_BODY,
    ClientGone,
    check_head,
    counted,
    declares_body,
    drained,
    read_body,
    replayed,
)
from api.http.compression import Compressor
from api.http.policies.repeated_headers import by_name
from api.http.policies.request_head import check_request
from api.http.policies.security_headers import Rules
from api.http.policies.trusted_hosts import PROBES
from api.http.policies.trusted_proxies import source_of
from api.http.request_context import EXCHANGE, RequestState, traceparent_of
from api.http.request_metrics import RequestMetrics, RouteFigures, SocketMetrics
from api.http.response import RawResponse, WholeResponse
from api.http.response_writer import Reply
from api.http.route_table import TARGET, Found, HotRead, LimitPolicy, Table, Target, method_of, target_of
from api.http.routing.targets import targets
from api.http.socket_edge import SocketEdge
from api.http.start_failures import in_words
from infra.observability import tracing
from infra.observability.access_log import AccessLog
from infra.observability.origin import begin
from infra.observability.tracing.requests import METHODS, begin_request, end_request

CLIENT_GONE: Final = 499

_log = structlog.get_logger("weir.edge")

EDGE: Final = "edge"
"""Where in the lifespan's state the edge's own part stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """What the edge needs while the process serves: where each request's line goes, the reads that are answered from
    bytes by their template, and what counts requests by the class of their route."""

    access: AccessLog | None = None
    hot: Mapping[str, HotRead] = field(default_factory=dict)
    gates: Mapping[str, LimitPolicy] = field(default_factory=dict)


_IDLE: Final = EdgeState()


class Edge:
    """Middleware, to be added with ``api.add_middleware(Edge, api=api, …)``: ``app`` is all that is within."""

    def __init__(self, app: ASGIApp, *, api: FastAPI, registry: CollectorRegistry, rules: Rules) -> None:
        self._app = app
        self._api = api
        self._table = Table(targets(api))
        self._handles_errors = handles_errors(api)
        self._metrics = RequestMetrics(registry)
        self._rules = rules
        self._compressor = Compressor()
        ids = request_ids()
        self._next_id = ids.__next__
        self._sockets = SocketEdge(app, api=api, rules=rules, ids=ids, metrics=SocketMetrics(registry))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        started = perf_counter()
        method = scope["method"]
        found = self._table.find(scope["path"])
        figures = self._metrics.of(method if method in METHODS else "other", found[0])
        if self._rules.proxies is not None:
            self._rules.proxies.look_behind(scope)
        exchange = RequestState(by_name(scope["headers"]), self._next_id)
        reply = Reply(send, exchange, method, self._rules, self._compressor)
        state: EdgeState = scope["state"].get(EDGE, _IDLE) if "state" in scope else _IDLE
        figures.in_progress += 1
        if tracing.is_on():
            exchange.span = begin_request(method, found[0], traceparent_of(exchange.headers), exchange.request_id)
        try:
            # What memory can answer is answered before anything else is looked at.
            answer = self._at_hand(found, state, exchange, scope)
            if answer is None:
                exchange.figures = figures
                await self._serve(found, state, exchange, reply, scope, receive)
            else:
                await reply.give(answer, shared=True)
        except (ClientGone, ClientDisconnect):
            reply.status = CLIENT_GONE
        except Exception as error:
            await self._refuse(error, exchange, reply, scope, receive)
        finally:
            figures.in_progress -= not exchange.open_ended
            self._note(scope, found[0], figures, started, exchange, reply, state.access)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._sockets(scope, receive, send)
        else:
            await self._app(scope, receive, in_words(send))

    def _at_hand(self, found: Found, state: EdgeState, exchange: RequestState, scope: Scope) -> RawResponse | None:
        """The answer from memory, if there is one. Before that, what every request has to pass; nothing waits here."""
        headers, hosts = exchange.headers, self._rules.hosts
        template, targets, args = found
        target = target_of(targets, scope["method"])
        if target is not None:
            scope[TARGET] = target
            exchange.deprecation_headers = target.deprecation_headers
            gate = state.gates.get(target.limit)
            if gate is not None:
                exchange.visit = gate.enter(source_of(scope), headers)
                exchange.visit.begin()
        check_request(scope, headers)
        if hosts is not None and template not in PROBES:
            hosts.check(headers)
        if target is None or declares_body(headers):
            return None
        if b"if-none-match" in headers:
            exchange.unmark()
        if target.method == "GET" and (hot := state.hot.get(template)) is not None:
            return hot.now(args, headers, scope)
        return None

    async def _serve(
        self, found: Found, state: EdgeState, exchange: RequestState, reply: Reply, scope: Scope, receive: Receive
    ) -> None:
        """Check, read, run, answer."""
        begin(exchange)
        scope[EXCHANGE] = exchange
        cors = self._rules.cors
        answer = None if cors is None else cors.preflight(scope["method"], found[1], exchange.headers)
        answer = answer or await _soon(found, state.hot, exchange, scope)
        if answer is not None:
            await reply.give(answer)
        else:
            await self._run(exchange, reply, scope, await _admitted(found, exchange, scope, receive))

    async def _run(self, exchange: RequestState, reply: Reply, scope: Scope, receive: Receive) -> None:
        """By the application; at once where the endpoint has a plan and nobody has added anything between.

        A plan leaves nothing to be closed, and what it raises is told here. So it has no use for FastAPI's two exit
        stacks and two exception handlers, which cost as much as all else that is not the endpoint's.
        """
        target: Target | None = scope.get(TARGET)
        respond = None if target is None or self._handles_errors else target.plan_in(self._api)
        if respond is None:
            await self._app(scope, receive, reply)
            return
        response = await respond(Request(scope, receive), exchange.body)
        if isinstance(response, WholeResponse):
            await reply.give(response.whole)
        else:
            await response(scope, receive, reply)

    def _note(
        self,
        scope: Scope,
        route: str,
        figures: RouteFigures,
        started: float,
        exchange: RequestState,
        reply: Reply,
        log: AccessLog | None,
    ) -> None:
        """Count the request and write its line. What comes in parts counts as long as it took to begin: an event stream
        may go on for hours, and would tell nothing of how quickly the route answers."""
        seconds = perf_counter() - started
        exchange.status = status = reply.status or 500
        if exchange.visit is not None:
            exchange.visit.leave(exchange)
        begun = reply.begun_at - started if reply.begun_at else seconds
        figures.observe(status, begun)
        if exchange.span is not tracing.NOTHING:
            end_request(exchange.span, status, None if exchange.principal is None else str(exchange.principal.id))
        if log is not None:
            source = scope.get("client") or ("",)
            notes = exchange.notes()
            log.request(status, seconds, scope["method"], scope["path"], route, source[0], exchange.request_id, notes)

    async def _refuse(
        self, error: Exception, exchange: RequestState, reply: Reply, scope: Scope, receive: Receive
    ) -> None:
        """Turn whatever went wrong into a problem, once; a response already begun can only be broken off."""
        problem = problem_of(error, committed=exchange.committed)
        exchange.code = problem.code
        unforeseen = problem_of(error).code == "internal"  # however it is told
        if unforeseen:
            _log.error("failed", code=problem.code, exc_info=error)
        elif problem.kind.status >= 500:
            _log.warning("failed", code=problem.code, cause=repr(error.__cause__ or error))
        if reply.status:
            return
        if unforeseen and (response := await answered(self._api, Request(scope, receive), error)) is not None:
            await response(scope, receive, reply)
            return
        target: Target | None = scope.get(TARGET)
        tell = None if target is None else target.tell
        answer = problem_answer(problem, exchange.request_id) if tell is None else tell(problem, exchange, scope)
        slow = problem.code == "request-timeout"
        if slow or not (exchange.read or await drained(exchange.headers, receive)):
            answer.headers.append((b"connection", b"close"))
        await reply.give(answer)


def request_ids() -> Iterator[str]:
    """Ids in the form of UUIDv7 (RFC 9562): when the process began, random bits, and a count behind them."""
    bits = int.from_bytes(os.urandom(9), "big")
    head = f"{time_ns() // 1_000_000:012x}{0x7000 | bits & 0xFFF:04x}{0x8000 | bits >> 12 & 0x3FFF:04x}"
    head = f"{head[:8]}-{head[8:12]}-{head[12:16]}-{head[16:]}-"
    for number in count(bits >> 32):
        yield f"{head}{number:012x}"


async def _soon(found: Found, hot: Mapping[str, HotRead], exchange: RequestState, scope: Scope) -> RawResponse | None:
    """The answer from bytes that are not in memory, if they can be found out without an endpoint."""
    template, _, args = found
    target: Target | None = scope.get(TARGET)
    if target is None or target.method != "GET" or template not in hot or declares_body(exchange.headers):
        return None
    return await hot[template].soon(args, exchange.headers, scope)


async def _admitted(found: Found, exchange: RequestState, scope: Scope, receive: Receive) -> Receive:
    """``receive`` for the application, once the request is within all limits.

    Raises ``method-not-allowed``. A path that is not in the table is the application's to find: something is mounted
    there, or nothing.
    """
    _, targets, args = found
    if not targets:
        return counted(receive, ANY_BODY, exchange.was_read)
    target, headers = method_of(targets, scope["method"]), exchange.headers
    if target.policy.stream:
        if declares_body(headers):
            check_head(headers, target.policy)
        receive = counted(receive, target.policy, exchange.was_read)
    else:
        exchange.body = await read_body(headers, receive, target.policy)
        exchange.was_read()
        receive = replayed(exchange.body, receive)
    if exchange.visit is not None:
        await exchange.visit.admit(exchange.body)
    scope["path_params"] = dict(zip(target.names, args, strict=False))
    return receive
