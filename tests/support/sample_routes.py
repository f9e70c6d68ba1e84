"""Sample routes for the edge: one of each kind of endpoint, over a warehouse that does as it is told."""

import asyncio
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Depends, Form, Query, Request
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from api.dependencies import Context, RawBody
from api.errors import Problem
from api.http.body_reader import accepts
from api.http.fast_route import router
from api.http.policies.deprecation import deprecated
from api.http.principal import Principal
from api.http.request_context import EXCHANGE, digest_of, identify
from api.http.response import RawResponse, Receipt, json_answer
from api.rate_limits.policies import limited
from api.schemas import Body, Params, Secret

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
    password: Secret


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


async def who(request: Request, context: Context) -> Principal:
    """A dependency that asks for another one."""
    if b"authorization" not in request.scope[EXCHANGE].headers:
        raise Problem("unauthenticated")
    principal = Principal(id=UUID(int=len(context.request_id)), scopes=frozenset({"ship"}))
    identify(request.scope, principal)
    return principal


async def get_warehouse(request: Request) -> Warehouse:
    """What the process has opened."""
    warehouse: Warehouse = request.state.warehouse
    return warehouse


async def visited(warehouse: Annotated[Warehouse, Depends(get_warehouse)]) -> Warehouse:
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
async def place_order(body: ShipBody, principal: Who, house: House) -> Receipt:
    """Place it."""
    return Receipt(id=principal.id, version=1, position=7, location="/v1/orders/x", replayed=True)


@routes.post("/{order_id}/complete")
async def complete_order(request: Request, order_id: UUID, house: House, context: Context) -> Receipt:
    """No body."""
    fingerprint = digest_of(request.scope).hex() if context.idempotency_key else None
    return Receipt(id=order_id, version=4, position=42, extra={"fingerprint": fingerprint})


@routes.post("/{order_id}/cancel")
async def cancel_order(order_id: UUID, house: House, body: ShipBody | None = None) -> None:
    """An optional body, and nothing to say."""


@routes.get("/popular")
async def popular() -> dict[str, str]:
    """A literal beside a parameter."""
    return {"it": "is popular"}


@routes.get("/latest/{order_id}")
@limited("read")
@deprecated(since=date(2026, 12, 1), sunset=date(2027, 6, 1), link="https://weir.example/versioning")
async def read_latest(order_id: UUID, house: House) -> RawResponse:
    """What somebody uses still."""
    return json_answer({"id": order_id})


@routes.get("/{order_id}")
async def read_order(order_id: UUID, house: House) -> RawResponse:
    """A document."""
    return RawResponse(200, [(b"content-type", b"application/json")], orjson.dumps({"id": order_id}))


@routes.get("")
async def list_orders(filters: Annotated[Filters, Query()], house: House) -> Filters:
    """A list; the model itself is answered."""
    return filters


@routes.get("/{order_id}/events")
async def order_events(order_id: UUID) -> Response:
    """A stream that breaks off if the id is odd, and pauses if four divides it."""

    async def parts() -> Any:
        yield b"one"
        if order_id.int % 2:
            raise RuntimeError("broken")
        if order_id.int % 4 == 0:
            await asyncio.sleep(0.02)
        yield b"two"

    return StreamingResponse(parts())


other = router("/v1")


@other.post("/auth/token")
async def sign_in(form: Annotated[Login, Form()], house: House) -> RawResponse:
    """A form."""
    return json_answer({"name": form.username})


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
