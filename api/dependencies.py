"""Dependencies of endpoints: the request's context, and whatever the process has opened, by type."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request

from api.http.request_context import EXCHANGE, RequestContext, RequestState, Visit, context_of
from api.http.route_table import Gate, HotRead

T = TypeVar("T")

RESOURCES = "resources"


class Resources:
    """What the lifespan has opened, by type. Frozen once the process serves."""

    __slots__ = ("_opened",)

    def __init__(self, opened: Mapping[type, Any]) -> None:
        self._opened = dict(opened)

    def __getitem__(self, kind: type[T]) -> T:
        return cast(T, self._opened[kind])

    def __contains__(self, kind: type) -> bool:
        return kind in self._opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the process has opened, by type.

    ``hot`` are the reads that it answers from bytes, by route template; ``gates`` count requests, by class of route.
    """

    resources: Mapping[type, Any]
    hot: Mapping[str, HotRead] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)


def opened(kind: type[T]) -> Callable[[Request], Coroutine[Any, Any, T]]:
    """A dependency that gives the one ``kind`` the process has opened.

    ``Commands = Annotated[CommandHandler, Depends(opened(CommandHandler))]`` belongs next to the endpoints that use
    it: the write side and the read side must not meet here.
    """

    async def resource(request: Request) -> T:
        return cast(T, request.scope["state"][RESOURCES][kind])

    return resource


async def request_context(request: Request) -> RequestContext:
    """The request's conditions: id, idempotency key, expected version, principal."""
    return context_of(request.scope)


async def raw_body(request: Request) -> bytes:
    """The body as it came, for signatures over it."""
    exchange: RequestState = request.scope[EXCHANGE]
    return exchange.body


async def limited_visit(request: Request) -> Visit | None:
    """The request as its limit counts it, for what only the endpoint finds out; None where nothing is counted."""
    exchange: RequestState = request.scope[EXCHANGE]
    return exchange.visit


Context = Annotated[RequestContext, Depends(request_context)]
Counted = Annotated[Visit | None, Depends(limited_visit)]
RawBody = Annotated[bytes, Depends(raw_body)]
