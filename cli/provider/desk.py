"""The stand-in's HTTP side: gives money back once per key, and misbehaves as it is told.

::

    POST /v1/refunds   Idempotency-Key: …   {"payment_id": "…", "amount": {"amount": "19.90", "currency": "EUR"}}
    201 (200 again)    {"refund_id": "re_…", "payment_id": "…", "amount": {…}}
    4xx                {"code": "…"}
    PUT  /control      {"kind": "fail", "status": 429, "retry_after": 5, "times": 2}   {"kind": "none"}
"""

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cli.provider.book import Book, Given
from domain.kernel.refusals import InvalidValue
from domain.money import Money

MOST_BYTES: Final = 16 * 1024
LONGEST_KEY: Final = 255
SHOWN: Final = 1_000
NAMES: Final = ("localhost", "127.0.0.1", "provider")
"""Hosts that it answers to: names of this machine, and the one that compose.yaml gives it. No web site can reach it
through a browser."""


class Trouble(BaseModel):
    """How calls are answered from now on, or the next ``times`` of them.

    ``fail``: with ``status`` and ``code``, and nothing is done. ``slow``: after so many ``seconds``. ``hang``: never,
    and nothing is done, until it is told something else. ``lose``: never, but the money has gone back.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["none", "fail", "slow", "hang", "lose"] = "none"
    status: int = Field(default=500, ge=400, le=599)
    code: str = Field(default="trouble", pattern=r"^[a-z0-9-]{1,64}$")
    retry_after: int | None = Field(default=None, ge=0, le=86_400)
    seconds: float = Field(default=2.0, ge=0, le=600)
    times: int | None = Field(default=None, ge=1)


class _Amount(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    amount: str
    currency: str


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    payment_id: str = Field(min_length=1, max_length=255)
    amount: _Amount


class Desk:
    """The endpoints. ``calls`` are the keys of all refunds that were asked for, in order."""

    def __init__(self, book: Book, key: str | None) -> None:
        self._book = book
        self._key = key
        self._in_hand: set[str] = set()
        self._writing = asyncio.Lock()
        self._trouble = Trouble()
        self._relief = asyncio.Event()
        self.calls: list[str] = []

    def tell(self, trouble: Trouble) -> None:
        """Behave so from now on. Calls that hang are let go."""
        self._trouble = trouble
        self._relief.set()
        self._relief = asyncio.Event()

    async def refund(self, request: Request) -> Response:
        """Money is asked for."""
        self._admit(request)
        key = request.headers.get("idempotency-key", "")
        if not 1 <= len(key) <= LONGEST_KEY:
            return _problem(400, "idempotency-key-missing")
        body = await _bounded(request)
        self.calls.append(key)
        trouble = self._next_trouble()
        if trouble.kind == "fail":
            return _problem(trouble.status, trouble.code, trouble.retry_after)
        if trouble.kind == "hang":
            await self._relief.wait()
            return _problem(503, "it-hung")
        answer = await self._once(key, body, trouble.seconds if trouble.kind == "slow" else 0.0)
        if trouble.kind == "lose":
            await self._relief.wait()
        return answer

    async def given(self, request: Request) -> Response:
        """What went back, the last first."""
        self._admit(request)
        return JSONResponse({"items": [_document(given) for given in reversed(self._book.given[-SHOWN:])]})

    async def control(self, request: Request) -> Response:
        """Somebody wants trouble, or none."""
        self._admit(request)
        try:
            self.tell(Trouble.model_validate_json(await _bounded(request)))
        except ValidationError:
            return _problem(422, "no-such-trouble")
        return JSONResponse(self._trouble.model_dump())

    async def page(self, _request: Request) -> Response:
        """For people."""
        lines = [
            f"{given.at}  {given.payment_id}  {given.amount} {given.currency}  {given.refund_id}"
            for given in reversed(self._book.given[-SHOWN:])
        ]
        return PlainTextResponse("\n".join(["Money given back, the last first:", "", *lines, ""]))

    def _admit(self, request: Request) -> None:
        sent = request.headers.get("authorization", "").encode()
        if self._key is not None and not hmac.compare_digest(sent, f"Bearer {self._key}".encode()):
            raise HTTPException(401)

    def _next_trouble(self) -> Trouble:
        trouble = self._trouble
        if trouble.times is not None:
            left = trouble.times - 1
            self._trouble = trouble.model_copy(update={"times": left}) if left else Trouble()
        return trouble

    async def _once(self, key: str, body: bytes, seconds: float) -> Response:
        if key in self._in_hand:
            return _problem(409, "idempotency-key-in-flight", 1)
        self._in_hand.add(key)
        try:
            await asyncio.sleep(seconds)
            async with self._writing:
                return await self._give(key, body)
        finally:
            self._in_hand.remove(key)

    async def _give(self, key: str, body: bytes) -> Response:
        try:
            asked = _Asked.model_validate_json(body)
            money = Money.parse(asked.amount.amount, asked.amount.currency)
        except (ValidationError, InvalidValue):
            return _problem(422, "invalid")
        wanted = (asked.payment_id, f"{money.amount:f}", money.currency)
        if (known := self._book.under(key)) is not None:
            return JSONResponse(_document(known)) if known.asked == wanted else _problem(409, "idempotency-key-reused")
        if self._book.holds(asked.payment_id):
            return _problem(422, "already-refunded")
        payment_id, amount, currency = wanted
        given = Given(
            key=key,
            payment_id=payment_id,
            amount=amount,
            currency=currency,
            refund_id=f"re_{secrets.token_hex(12)}",
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        await self._book.write(given)
        return JSONResponse(_document(given), 201)


def create_provider(desk: Desk) -> Starlette:
    """The desk as an ASGI application."""
    return Starlette(
        routes=[
            Route("/", desk.page),
            Route("/v1/refunds", desk.refund, methods=["POST"]),
            Route("/v1/refunds", desk.given, methods=["GET"]),
            Route("/control", desk.control, methods=["PUT"]),
            Route("/health/live", _well),
            Route("/health/ready", _well),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=NAMES)],
        exception_handlers={HTTPException: _refused},
    )


async def _bounded(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413)
    return bytes(body)


def _document(given: Given) -> dict[str, Any]:
    amount = {"amount": given.amount, "currency": given.currency}
    return {"refund_id": given.refund_id, "payment_id": given.payment_id, "amount": amount, "at": given.at}


def _problem(status: int, code: str, retry_after: int | None = None) -> Response:
    headers: Mapping[str, str] = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"code": code}, status, headers, media_type="application/problem+json")


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _problem(status, {401: "unauthenticated", 404: "not-found", 413: "content-too-large"}.get(status, "refused"))


async def _well(_request: Request) -> Response:
    return PlainTextResponse("ok")
