"""The API process: what it opens, which routes it has, and the edge around them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api import health, problem_pages, swagger_ui
from api.commands import accounts, auth, me, payments, recovery
from api.commands import api_keys as api_key_commands
from api.commands import images as image_commands
from api.commands import imports as import_commands
from api.commands import orders as order_commands
from api.commands import products as product_commands
from api.commands import rooms as room_commands
from api.commands.webhooks import routes as webhook_commands
from api.dependencies import Opened
from api.errors import to_the_edge
from api.examples import examples
from api.guide import guide
from api.http import openapi
from api.http.connection.server import ENDING
from api.http.edge import EDGE, Edge, EdgeState
from api.http.policies.security_headers import Rules
from api.http.route_table import TableRoute
from api.http.socket_edge import SOCKETS, SocketRoutes
from api.lifespan import open_servers
from api.live import routes as live_routes
from api.live.page import routes as live_page
from api.pages import mail_links
from api.queries import accounts as account_queries
from api.queries import dashboard, events, order_events, order_history, room_messages
from api.queries import images as image_queries
from api.queries import imports as import_queries
from api.queries import me as my_queries
from api.queries import orders as order_queries
from api.queries import products as product_queries
from api.queries import rooms as room_queries
from api.queries.webhooks import deliveries as webhook_deliveries
from api.queries.webhooks import subscriptions as webhook_queries
from infra.observability.access_log import AccessLog
from infra.observability.error_reports import reporting
from infra.observability.log_writer import LogWriter
from infra.observability.logging import logging_to
from infra.observability.metrics import new_registry
from infra.observability.shared_metrics import sharing
from infra.observability.tracing.opening import recorded
from infra.settings import Settings

ROUTERS: tuple[APIRouter, ...] = (
    accounts.routes,
    account_queries.routes,
    auth.routes,
    recovery.routes,
    mail_links.routes,
    me.routes,
    my_queries.routes,
    api_key_commands.routes,
    product_commands.routes,
    product_queries.routes,
    image_commands.routes,
    image_queries.routes,
    import_commands.routes,
    import_queries.routes,
    order_commands.routes,
    order_queries.routes,
    order_history.routes,
    order_events.routes,
    payments.routes,
    room_commands.routes,
    room_queries.routes,
    room_messages.routes,
    webhook_commands.routes,
    webhook_queries.routes,
    webhook_deliveries.routes,
    live_routes.routes,
    dashboard.routes,
    events.routes,
    health.routes,
    problem_pages.routes,
    openapi.routes,
    swagger_ui.routes,
)


class Application(FastAPI):
    """FastAPI without the layers that have nothing to do around the edge."""

    _alone: Edge | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request, or a socket, goes straight to the edge where nothing else stands around it."""
        if self._alone is not None and scope["type"] in ("http", "websocket"):
            scope["app"] = self
            await self._alone(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """The edge first, as long as nothing has been added around it.

        FastAPI would put three layers there: for errors that nobody caught, for telling of them, and for a bound on
        bodies. The edge lets no error through and has bounds of its own, and a hot read would pay some 4 % for them,
        and 2 % for the two calls that lead there.
        """
        stack: Any = super().build_middleware_stack()
        if self.max_body_size is None and len(self.user_middleware) == 1:
            while not isinstance(stack, Edge):
                stack = stack.app
            self._alone = None if self.root_path else stack
        whole: ASGIApp = stack
        return whole


Logging = Callable[[], AbstractContextManager[LogWriter]]
Open = Callable[[AsyncExitStack, Settings, CollectorRegistry], Awaitable[Opened]]


def create_app(settings: Settings, *, log_turns: Path | None = None) -> FastAPI:
    """The ASGI application. It opens its servers when its lifespan begins and closes them when it ends.

    ``log_turns``: the file by which several processes take turns at one log.
    """
    shown = [guide(), live_page.routes] if settings.environment == "development" else []
    log = partial(logging_to, settings, turns=log_turns)
    return assemble(settings, (*ROUTERS, *shown), open_servers, log=log)


def openapi_document() -> dict[str, Any]:
    """The description of every route. It needs neither settings nor servers."""
    app = with_edge(FastAPI(**openapi.METADATA), ROUTERS, CollectorRegistry(), Rules())
    return app.openapi()


def assemble(
    settings: Settings, routers: Iterable[APIRouter], open_them: Open, *, log: Logging | None = None
) -> FastAPI:
    """An application of these routes; ``open_them`` is called when its lifespan begins."""
    registry, rules = new_registry(), Rules.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            access = AccessLog(stack.enter_context(log() if log else logging_to(settings)), settings)
            await stack.enter_async_context(sharing(registry))
            stack.enter_context(reporting(settings, "api"))
            stack.enter_context(recorded("api"))
            opened = await open_them(stack, settings, registry)
            edge = EdgeState(access=access, hot=opened.hot, gates=opened.gates)
            yield {EDGE: edge, SOCKETS: SocketRoutes(app, rules).take, ENDING: opened.ending, **opened.state}

    return with_edge(Application(lifespan=lifespan, **openapi.METADATA), routers, registry, rules)


def with_edge(app: FastAPI, routers: Iterable[APIRouter], registry: CollectorRegistry, rules: Rules) -> FastAPI:
    """The application with these routes, and with the edge around all that it has and will have."""
    app.router.routes.append(TableRoute())
    for routes in routers:
        app.include_router(routes)
    for refusal in (HTTPException, RequestValidationError):
        app.add_exception_handler(refusal, to_the_edge)
    app.add_middleware(Edge, api=app, registry=registry, rules=rules)
    return openapi.describe(app, examples)
