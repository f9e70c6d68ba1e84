"""An edge with sample routes and no servers behind it, and requests made of it without a socket."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import swagger_ui
from api.http import openapi
from api.http.edge import EDGE, EdgeState
from api.http.policies.security_headers import Rules
from api.http.response import RawResponse
from api.http.route_table import HotRead, LimitPolicy
from api.http.socket_edge import SOCKETS, SocketRoutes
from api.main import with_edge
from tests.support.sample_routes import Warehouse, other, routes


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.json["code"])


@dataclass(kw_only=True)
class SampleEdge:
    """An application with the edge around it, what stands behind it, and its registry."""

    app: FastAPI
    registry: CollectorRegistry
    rules: Rules
    warehouse: Warehouse = field(default_factory=Warehouse)
    edge: EdgeState = field(default_factory=EdgeState)

    def heat(self, hot: Mapping[str, HotRead]) -> None:
        """From now on answer GETs of these templates from bytes."""
        self.edge = replace(self.edge, hot=hot)

    def limit(self, gates: Mapping[str, LimitPolicy]) -> None:
        """From now on count the requests of each class of routes at its gate."""
        self.edge = replace(self.edge, gates=gates)

    @property
    def state(self) -> dict[str, Any]:
        """What a lifespan would have opened."""
        return {EDGE: self.edge, "warehouse": self.warehouse}

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        stalls: bool = False,
        client: str = "192.0.2.1",
    ) -> Reply:
        """One request. A body in parts is sent without a length; one that stalls never ends. An empty host is none."""
        path, _, query = target.partition("?")
        parts = [body] if isinstance(body, bytes) else list(body)
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in pairs}
        if "host" not in names:
            pairs.append(("host", "weir.test"))
        pairs = [(name, value) for name, value in pairs if (name, value) != ("host", "")]
        if not isinstance(body, bytes):
            pairs.append(("transfer-encoding", "chunked"))
        elif body and "content-length" not in names:
            pairs.append(("content-length", str(len(body))))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
            "client": (client, 4711),
            "state": self.state,
        }
        sent: list[Message] = []
        incoming = _Incoming(parts, stalls=stalls)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, incoming.receive, send)
        return _reply(sent)

    async def post(self, target: str, body: bytes | Sequence[bytes] = b"", **headers: str) -> Reply:
        """A JSON body; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", target, body, {"content-type": "application/json", **named})


class AtHand:
    """A hot read that knows everything."""

    def now(self, *_: object) -> RawResponse:
        return RawResponse(200, [(b"cache-control", b"public, no-cache")], b"at hand")

    async def soon(self, *_: object) -> None:
        return None


class _Incoming:
    def __init__(self, parts: list[bytes], *, stalls: bool) -> None:
        self._parts = parts
        self._stalls = stalls

    async def receive(self) -> Message:
        if self._parts:
            body = self._parts.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._parts) or self._stalls}
        if self._stalls:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}


def _reply(sent: list[Message]) -> Reply:
    if not sent:
        return Reply(status=0, headers={}, body=b"")
    start, *parts = sent
    headers = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Reply(status=start["status"], headers=headers, body=b"".join(part["body"] for part in parts))


def sample_edge(rules: Rules | None = None, *routers: APIRouter) -> SampleEdge:
    """A new one."""
    registry = CollectorRegistry()
    app, rules = FastAPI(**openapi.METADATA), rules or Rules()
    with_edge(app, (routes, other, openapi.routes, swagger_ui.routes, *routers), registry, rules)
    return SampleEdge(app=app, registry=registry, rules=rules)


def plain_edge() -> SampleEdge:
    """One whose application and registry are every caller's: to put them together takes as long as five tests."""
    return replace(_shared(), warehouse=Warehouse(), edge=EdgeState())


@cache
def _shared() -> SampleEdge:
    return sample_edge()


def assert_problem(reply: Reply, status: int, code: str) -> None:
    """The reply is this problem, whole and in form."""
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]
    assert int(reply.headers["content-length"]) == len(reply.body)


def with_state(sample: SampleEdge) -> ASGIApp:
    """The edge for a server, with what a lifespan would have opened: each request finds what stands behind it."""
    sockets = SocketRoutes(sample.app, sample.rules)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            scope["state"][SOCKETS] = sockets.take
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            scope["state"] = sample.state
            await sample.app(scope, receive, send)

    return app
