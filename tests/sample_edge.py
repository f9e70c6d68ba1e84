"""An edge with sample routes and no servers behind it, and requests made of it without a socket."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, FastAPI, Form, Query, Request
from prometheus_client import CollectorRegistry
from pydantic import Field
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from api import docs
from api.answers import Answer, Receipt
from api.context import EXCHANGE, Principal, identify
from api.deps import RESOURCES, Context, RawBody, Resources, opened
from api.endpoint import router, targets
from api.errors import Problem
from api.guard import accepts
from api.middleware import Edge
from api.routing import Table
from api.schemas import Body, Params
from infra.metrics import RequestMetrics

ORDER_ID: Final = "0192f1a0-7b1e-7c3a-9f00-000000000001"


class Carrier(Enum):
    """Who carries."""

    POST = "post"
    BIKE = "bike"


class ShipBody(Body):
    """A bit of everything."""

    carrier: Carrier
    pieces: int = Field(ge=1, le=1000)
    weight: Decimal | None = Field(None, max_digits=8, decimal_places=3)
    at: datetime | None = None
    parts: list[UUID] = Field(default_factory=list, max_length=3)
    note: str | None = Field(None, max_length=100)
    fragile: bool = False


class Login(Params):
    """A form."""

    username: str
    password: str


class Filters(Params):
    """A query."""

    limit: int = Field(20, ge=1, le=100)
    tag: str | None = None


class Warehouse:
    """Stands for what the process has opened: it raises what it is told to, and counts its visits."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.visits = 0

    def visit(self) -> None:
        self.visits += 1
        if self.error is not None:
            raise self.error


def who(request: Request, context: Context) -> Principal:
    """A dependency that asks for another one."""
    if b"authorization" not in request.scope[EXCHANGE].headers:
        raise Problem("unauthenticated")
    principal = Principal(id=UUID(int=len(context.request_id)), scopes=frozenset({"ship"}))
    identify(request.scope, principal)
    return principal


async def visited(warehouse: Annotated[Warehouse, Depends(opened(Warehouse))]) -> Warehouse:
    """An async dependency."""
    warehouse.visit()
    return warehouse


Who = Annotated[Principal, Depends(who)]
House = Annotated[Warehouse, Depends(visited)]

routes = router("/v1/orders", tags=["orders"])


@routes.post("/{order_id}/ship")
async def ship_order(order_id: UUID, body: ShipBody, house: House, context: Context) -> Receipt:
    """Ship it."""
    return Receipt(
        id=order_id,
        version=3,
        position=41,
        token="tok",
        extra={"pieces": body.pieces, "key": context.idempotency_key, "if_match": context.if_match},
    )


@routes.post("", status_code=201)
async def place_order(body: ShipBody, house: House, principal: Who) -> Receipt:
    """Place it."""
    return Receipt(id=principal.id, version=1, position=7, location="/v1/orders/x", replayed=True)


@routes.post("/{order_id}/complete")
async def complete_order(order_id: UUID, house: House, context: Context) -> Receipt:
    """No body."""
    fingerprint = context.fingerprint.hex() if context.fingerprint else None
    return Receipt(id=order_id, version=4, position=42, extra={"fingerprint": fingerprint})


@routes.post("/{order_id}/cancel")
async def cancel_order(order_id: UUID, house: House, body: ShipBody | None = None) -> None:
    """An optional body, and nothing to say."""


@routes.get("/popular")
async def popular() -> dict[str, str]:
    """A literal beside a parameter."""
    return {"it": "is popular"}


@routes.get("/{order_id}")
async def read_order(order_id: UUID, house: House) -> Answer:
    """A document."""
    return Answer(200, [(b"content-type", b"application/json")], orjson.dumps({"id": order_id}))


@routes.get("")
async def list_orders(filters: Annotated[Filters, Query()], house: House) -> Filters:
    """A list; the model itself is answered."""
    return filters


@routes.get("/{order_id}/events")
async def order_events(order_id: UUID) -> Response:
    """A stream that breaks off if the id is odd."""

    async def parts() -> Any:
        yield b"one"
        if order_id.int % 2:
            raise RuntimeError("broken")
        yield b"two"

    return StreamingResponse(parts())


other = router("/v1")


@other.post("/auth/token")
async def sign_in(form: Annotated[Login, Form()], house: House) -> dict[str, str]:
    """A form."""
    return {"name": form.username}


@other.put("/image")
@accepts("image/png", "image/webp", limit=2048)
async def put_image(body: RawBody, house: House) -> dict[str, int]:
    """Bytes of another kind."""
    return {"size": len(body)}


@other.post("/slow")
@accepts("application/json", seconds=0.05)
async def slow(body: ShipBody, house: House) -> None:
    """Little time."""


@other.post("/import", status_code=202)
@accepts("text/csv", limit=4096, seconds=0.05, stream=True)
async def import_products(request: Request, house: House) -> dict[str, int]:
    """Read in parts."""
    return {"size": sum([len(part) async for part in request.stream()])}


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


@dataclass(frozen=True, kw_only=True)
class SampleEdge:
    """The edge, what stands behind it, and its registry."""

    edge: Edge
    app: FastAPI
    registry: CollectorRegistry
    warehouse: Warehouse = field(default_factory=Warehouse)

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        stalls: bool = False,
    ) -> Reply:
        """One request. A body in parts is sent without a length; one that stalls never ends."""
        path, _, query = target.partition("?")
        parts = [body] if isinstance(body, bytes) else list(body)
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in pairs}
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
            "client": ("192.0.2.1", 4711),
            "state": {RESOURCES: Resources({Warehouse: self.warehouse})},
        }
        sent: list[Message] = []
        incoming = _Incoming(parts, stalls=stalls)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.edge(scope, incoming.receive, send)
        return _reply(sent)

    async def post(self, target: str, body: bytes | Sequence[bytes] = b"", **headers: str) -> Reply:
        """A JSON body; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", target, body, {"content-type": "application/json", **named})


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


def sample_edge() -> SampleEdge:
    """A new one."""
    app = FastAPI(**docs.METADATA)
    for one in (routes, other, docs.routes):
        app.include_router(one)
    registry = CollectorRegistry()
    edge = Edge(docs.describe(app), Table(targets(app)), RequestMetrics(registry))
    return SampleEdge(edge=edge, app=app, registry=registry)


def assert_problem(reply: Reply, status: int, code: str) -> None:
    """The reply is this problem, whole and in form."""
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json["request_id"] == reply.headers["x-request-id"]
    assert int(reply.headers["content-length"]) == len(reply.body)
