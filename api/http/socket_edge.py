"""The edge of WebSockets: what each must be before it is opened. What is said on one is the affair of its route."""

from collections.abc import Iterator
from typing import Final

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Problem, problem_answer
from api.http.policies.cors import check_origin
from api.http.policies.repeated_headers import by_name
from api.http.policies.request_head import check_request
from api.http.policies.security_headers import Rules
from api.http.request_context import EXCHANGE, RequestState
from api.http.request_metrics import SocketMetrics
from api.http.route_table import UNMATCHED
from infra.observability.origin import Asking, begin

SOCKETS: Final = "sockets"
"""Where in the lifespan's state stands, for the server, which requests may become sockets (:meth:`SocketRoutes.take`).

The others it does not offer as such: what they ask for besides (RFC 9110, 7.8) is ignored, and they are answered as the
requests that they are, with all that the edge has to say to those."""
POLICY_VIOLATION: Final = 1008

_ANSWERS: Final = "websocket.http.response"
"""The extension of ASGI by which a server lets a socket be refused with a whole answer."""


class SocketRoutes:
    """The routes of an application that are sockets."""

    def __init__(self, api: FastAPI, rules: Rules) -> None:
        self._routes = list(_socket_routes(api))
        self._rules = rules

    def take(self, scope: Scope) -> bool:
        """Whether there is such a socket, and the head is one that any request may have."""
        try:
            self.check(scope)
        except Problem:
            return False
        return self.find(scope) is not None

    def find(self, scope: Scope) -> tuple[str, ASGIApp] | None:
        """The path's template, and what serves it; the scope has its parameters from here on."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                app: ASGIApp = route.app
                return route.path_format or UNMATCHED, app
        return None

    def check(self, scope: Scope) -> None:
        """Raises :class:`~api.errors.Problem` for a head with which the edge lets no request pass."""
        headers = by_name(scope["headers"])
        check_request(scope, headers)
        if self._rules.hosts is not None:
            self._rules.hosts.check(headers)


class SocketEdge:
    """A socket has a request id and a context like any request.

    It goes straight to its route: a socket may stay for hours, and what lies between, on FastAPI's way, would stay in
    memory as long as that.
    """

    def __init__(self, app: ASGIApp, *, api: FastAPI, rules: Rules, ids: Iterator[str], metrics: SocketMetrics) -> None:
        self._app = app
        self._rules = rules
        self._next_id = ids.__next__
        self._routes = SocketRoutes(api, rules)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, until it is closed."""
        if self._rules.proxies is not None:
            self._rules.proxies.look_behind(scope)
        scope[EXCHANGE] = exchange = RequestState(by_name(scope["headers"]), self._next_id)
        begin(Asking(request_id=exchange.request_id))  # not the exchange: a socket stays for hours
        # Where there is no route, the application says so.
        template, route = self._routes.find(scope) or (UNMATCHED, self._app)
        try:
            self._routes.check(scope)
            check_origin(exchange.headers, self._rules.cors)
        except Problem as problem:
            self._metrics.refused(template)
            await self._refuse(problem, scope, send, exchange.request_id)
        else:
            with self._metrics.one(template):
                await route(scope, receive, send)

    async def _refuse(self, problem: Problem, scope: Scope, send: Send, request_id: str) -> None:
        if _ANSWERS not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        answer = problem_answer(problem, request_id)
        headers = [*answer.headers, *self._rules.always, (b"x-request-id", request_id.encode())]
        await send({"type": f"{_ANSWERS}.start", "status": answer.status, "headers": headers})
        await send({"type": f"{_ANSWERS}.body", "body": answer.body})


def _socket_routes(api: FastAPI) -> Iterator[RouteContext]:
    for context in iter_route_contexts(api.routes):
        if isinstance(context.original_route, WebSocketRoute):
            yield context
