"""The API in this process: its lifespan run as a server would run it, and a client that needs no socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import Message

from api.http.route_table import Table
from api.http.routing.targets import targets
from api.main import create_app
from infra.settings import Settings
from tests.support.openapi import PROBLEM, assert_code_is_told, told_codes


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Starts the application and stops it at the end; gives the state that its requests must carry."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    state: dict[str, Any] = {}
    running = asyncio.create_task(app({"type": "lifespan", "state": state}, to_app.get, from_app.put))
    try:
        await to_app.put({"type": "lifespan.startup"})
        started = await from_app.get()
        assert started["type"] == "lifespan.startup.complete", started
        yield state
        await to_app.put({"type": "lifespan.shutdown"})
        assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    finally:
        running.cancel()
        await asyncio.wait({running})


def endpoints(app: FastAPI) -> list[tuple[str, str]]:
    """Every method with the template of its path."""
    return [(target.method, target.template) for target in targets(app)]


def application(settings: Settings) -> FastAPI:
    """An application of its own on routes that all of its environment share: FastAPI puts together what each of them
    needs when they are first looked at, which takes longer than most tests."""
    app = create_app(settings)
    app.router.routes[:] = _ROUTES.setdefault(settings.environment, app.router.routes[:])
    return app


_ROUTES: dict[str, list[BaseRoute]] = {}


@dataclass(frozen=True, kw_only=True)
class Process:
    """An API process: a client of it, and what it has opened."""

    client: httpx2.AsyncClient
    state: Mapping[str, Any]


@asynccontextmanager
async def api_process(settings: Settings) -> AsyncIterator[Process]:
    """An API process of its own."""
    app = application(settings)
    async with lifespan(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx2.ASGITransport(app=with_state)
        hooks: dict[str, list[Any]] = {"response": [_checked(_table(app, settings.environment))]}
        async with httpx2.AsyncClient(transport=transport, base_url="http://weir.test", event_hooks=hooks) as client:
            yield Process(client=client, state=state)


def _table(app: FastAPI, environment: str) -> Table:
    """The application's routes. All that the environment has in common have the same, and to list them takes long."""
    if environment not in _TABLES:
        _TABLES[environment] = Table(targets(app))
    return _TABLES[environment]


_TABLES: dict[str, Table] = {}


def _checked(table: Table) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Whatever a test provokes, the OpenAPI document tells of it where it was asked for."""
    told_codes()  # now, and not when the first refusal is timed

    async def check(response: httpx2.Response) -> None:
        if response.headers.get("content-type") == PROBLEM and response.request.method != "HEAD":
            template, _, _ = table.find(response.request.url.path)
            assert_code_is_told(response.request.method, template, orjson.loads(await response.aread())["code"])

    return check


@asynccontextmanager
async def api_client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API process of its own."""
    async with api_process(settings) as process:
        yield process.client
