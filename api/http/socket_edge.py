"""The edge of WebSockets: what each must be before it is opened. What is said on one is the affair of its route."""

from collections.abc import Iterator
from typing import Final

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Problem
from api.http.policies.cors import may_open_sockets
from api.http.policies.security_headers import Rules
from api.http.request_context import EXCHANGE, RequestState
from api.http.request_metrics import SocketMetrics
from api.http.route_table import UNMATCHED
from infra.observability.origin import Asking, begin

POLICY_VIOLATION: Final = 1008


class SocketEdge:
    """A socket has a request id and a context like any request.

    It goes straight to its route: a socket may stay for hours, and what lies between, on FastAPI's way, would stay in
    memory as long as that.
    """

    def __init__(self, app: ASGIApp, *, api: FastAPI, rules: Rules, ids: Iterator[str], metrics: SocketMetrics) -> None:
        self._app = app
        self._rules = rules
        self._next_id = ids.__next__
        self._routes = list(_socket_routes(api))
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, until it is closed."""
        if self._rules.proxies is not None:
            self._rules.proxies.look_behind(scope)
        scope[EXCHANGE] = exchange = RequestState(dict(scope["headers"]), self._next_id)
        begin(Asking(request_id=exchange.request_id))  # not the exchange: a socket stays for hours
        template, route = self._route(scope)
        if self._is_for_us(exchange):
            with self._metrics.one(template):
                await route(scope, receive, send)
        else:
            self._metrics.refused(template)
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    def _is_for_us(self, exchange: RequestState) -> bool:
        try:
            if self._rules.hosts is not None:
                self._rules.hosts.check(exchange.headers)
        except Problem:
            return False
        return may_open_sockets(exchange.headers, self._rules.cors)

    def _route(self, scope: Scope) -> tuple[str, ASGIApp]:
        """That of its path, and the path's template; where there is none, the application says so."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                app: ASGIApp = route.app
                return route.path_format or UNMATCHED, app
        return UNMATCHED, self._app


def _socket_routes(api: FastAPI) -> Iterator[RouteContext]:
    for context in iter_route_contexts(api.routes):
        if isinstance(context.original_route, WebSocketRoute):
            yield context
