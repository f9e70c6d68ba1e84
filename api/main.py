"""The API process: what it opens, which routes it has, and the edge around them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry

from api import docs, health
from api.deps import RESOURCES, Resources
from api.endpoint import targets
from api.health import Components
from api.middleware import Edge
from api.routing import HotRead, Table
from infra.metrics import RequestMetrics, new_registry
from infra.settings import Settings
from infra.telemetry import AccessLog, logging_to

ROUTERS: tuple[APIRouter, ...] = (health.routes, docs.routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the process has opened, by type, and the reads that it answers from bytes, by route template."""

    resources: Mapping[type, Any]
    hot: Mapping[str, HotRead] = field(default_factory=dict)


Open = Callable[[AsyncExitStack, Settings, CollectorRegistry], Awaitable[Opened]]


def create_app(settings: Settings) -> Edge:
    """The ASGI application. It opens its servers when its lifespan begins and closes them when it ends."""
    return assemble(settings, ROUTERS, open_servers)


async def open_servers(_stack: AsyncExitStack, _settings: Settings, _registry: CollectorRegistry) -> Opened:
    """Everything that the endpoints ask for with ``opened(kind)``; the stack closes it in reverse order."""
    return Opened(resources={Components: Components()})


def assemble(settings: Settings, routers: Iterable[APIRouter], open_them: Open, *, log_descriptor: int = 1) -> Edge:
    """The edge around these routes; ``open_them`` is called when the lifespan begins."""
    registry = new_registry()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            writer = stack.enter_context(logging_to(settings, log_descriptor))
            edge.log_to(AccessLog(writer, settings))
            stack.callback(edge.log_to, None)
            opened = await open_them(stack, settings, registry)
            edge.heat(opened.hot)
            stack.callback(edge.heat, {})
            own = {Settings: settings, CollectorRegistry: registry}
            yield {RESOURCES: Resources({**own, **opened.resources})}

    app = FastAPI(lifespan=lifespan, **docs.METADATA)
    for routes in routers:
        app.include_router(routes)
    edge = Edge(docs.describe(app), Table(targets(app)), RequestMetrics(registry))
    return edge
