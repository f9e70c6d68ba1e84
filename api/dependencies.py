"""Dependencies of endpoints of both sides: the request's context, and what the lifespan has opened for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from api.http.places import Places
from api.http.request_context import EXCHANGE, LimitTicket, RequestContext, RequestState, context_of
from api.http.route_table import HotRead, LimitPolicy
from infra.eventsourcing.current_log import CurrentLog
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.subscriptions import Subscriptions
from infra.observability.health import Component
from infra.postgres.clock import PostgresClock
from infra.postgres.pool import Database
from infra.redis.presence import Presence
from infra.settings import Settings
from infra.storage.product_images import ImageFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the process has opened. ``state`` is the lifespan's: what endpoints find in ``request.state``.

    ``hot`` are the reads that are answered from bytes, by route template; ``gates`` count requests, by class of route.
    ``ending`` is called when the process is told to end, before it waits for what has begun.
    """

    state: Mapping[str, Any]
    hot: Mapping[str, HotRead] = field(default_factory=dict)
    gates: Mapping[str, LimitPolicy] = field(default_factory=dict)
    ending: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The lifespan's state for all: ``request.state.shared``. The write side and the read side do not meet here."""

    settings: Settings
    registry: CollectorRegistry
    components: tuple[Component, ...]
    database: Database
    log: EventLog
    current_log: CurrentLog
    clock: PostgresClock
    image_files: ImageFiles
    subscriptions: Subscriptions
    presence: Presence
    event_streams: Places


async def get_shared(request: Request) -> Shared:
    """All of it."""
    shared: Shared = request.state.shared
    return shared


SharedDep = Annotated[Shared, Depends(get_shared)]


async def get_settings(shared: SharedDep) -> Settings:
    return shared.settings


async def get_registry(shared: SharedDep) -> CollectorRegistry:
    return shared.registry


async def get_components(shared: SharedDep) -> tuple[Component, ...]:
    return shared.components


async def get_database(shared: SharedDep) -> Database:
    return shared.database


async def get_log(shared: SharedDep) -> EventLog:
    return shared.log


async def get_current_log(shared: SharedDep) -> CurrentLog:
    return shared.current_log


async def get_clock(shared: SharedDep) -> PostgresClock:
    return shared.clock


async def get_image_files(shared: SharedDep) -> ImageFiles:
    return shared.image_files


async def get_presence(shared: SharedDep) -> Presence:
    return shared.presence


async def get_subscriptions(shared: SharedDep) -> Subscriptions:
    return shared.subscriptions


async def get_event_streams(shared: SharedDep) -> Places:
    return shared.event_streams


async def request_context(request: Request) -> RequestContext:
    """The request's conditions: id, idempotency key, expected version, principal."""
    return context_of(request.scope)


async def raw_body(request: Request) -> bytes:
    """The body as it came, for signatures over it."""
    exchange: RequestState = request.scope[EXCHANGE]
    return exchange.body


async def limited_visit(request: Request) -> LimitTicket | None:
    """The request as its limit counts it, for what only the endpoint finds out; None where nothing is counted."""
    exchange: RequestState = request.scope[EXCHANGE]
    return exchange.visit


SettingsDep = Annotated[Settings, Depends(get_settings)]
RegistryDep = Annotated[CollectorRegistry, Depends(get_registry)]
ComponentsDep = Annotated[tuple[Component, ...], Depends(get_components)]
DatabaseDep = Annotated[Database, Depends(get_database)]
LogDep = Annotated[EventLog, Depends(get_log)]
CurrentLogDep = Annotated[CurrentLog, Depends(get_current_log)]
ClockDep = Annotated[PostgresClock, Depends(get_clock)]
ImageFilesDep = Annotated[ImageFiles, Depends(get_image_files)]
PresenceDep = Annotated[Presence, Depends(get_presence)]
SubscriptionsDep = Annotated[Subscriptions, Depends(get_subscriptions)]
EventStreamsDep = Annotated[Places, Depends(get_event_streams)]
Context = Annotated[RequestContext, Depends(request_context)]
Counted = Annotated[LimitTicket | None, Depends(limited_visit)]
RawBody = Annotated[bytes, Depends(raw_body)]
