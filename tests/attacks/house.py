"""The house that is attacked: a real server, a victim with something to lose, and a stranger with an account."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import jwt
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.projections.generations import install
from infra.eventsourcing.startup import open_log
from infra.identity.access_tokens import AUDIENCE
from infra.identity.signing_keys import SigningKey, SigningKeys
from infra.postgres.pool import Database, connect
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.api_client import application
from tests.support.encryption import WRAPPING
from tests.support.serving import connected, serving
from workers.main import parts_of
from workers.parts import run_parts

PASSWORD: Final = "four words nobody guesses 7"
SECRET: Final = b"a secret of the tests, 32 bytes!"
ADMIN: Final = "admin@weir.example"


@dataclass(kw_only=True)
class Person:
    """Somebody with an account, and what signing in has given them."""

    id: str
    email: str
    access: str
    refresh: str

    @property
    def headers(self) -> dict[str, str]:
        """Their credentials."""
        return {"Authorization": f"Bearer {self.access}"}


@dataclass(kw_only=True)
class House:
    """The API, and those who use it. ``order`` is the victim's."""

    http: httpx2.AsyncClient
    port: int
    key: SigningKey
    history: UUID
    admin: Person
    victim: Person
    stranger: Person
    product: str = ""
    order: str = ""

    async def ask(
        self, method: str, path: str, *, by: Person | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """One request, by somebody or by nobody."""
        named = {**(by.headers if by else {}), **(headers or {})}
        return await self.http.request(method, path, headers=named, **more)

    async def raw(self, *parts: bytes) -> int:
        """The status of the answer to these very bytes; 0 if the server hangs up without a word."""
        async with connected(self.port) as line:
            head, _ = await line.ask(*parts)
        return int(head.split(b" ", 2)[1]) if head else 0

    def token(self, *, key: Any = None, header: Mapping[str, Any] | None = None, **changed: Any) -> str:
        """An access token for the victim in our very form, but for what is said; ``None`` leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": "weir",
            "aud": AUDIENCE,
            "sub": self.victim.id,
            "jti": str(uuid4()),
            "iat": now,
            "exp": now + 600,
            "scope": "orders:read orders:write",
            "sid": str(uuid4()),
            "ver": 1,
            "his": str(self.history),
        }
        kept = {name: value for name, value in {**claims, **changed}.items() if value is not None}
        named = {"typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        return jwt.encode(kept, key or self.key.private, "ES256", headers=named)


@asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[House]:
    """Furnished: an admin, a product with stock, a victim with an order, a stranger. Rates are off."""
    told = {
        "rate_limits": "off",
        "admin_email": ADMIN,
        "admin_password": SecretStr(PASSWORD),
        "payment_webhook_secret": SecretStr("whsec_" + base64.b64encode(SECRET).decode()),
        "log_level": "error",
    }
    settings, database = settings.model_copy(update=told), Database(pool_of(settings))
    session = await connect(settings.database_url)
    await install(session, PROJECTIONS)
    await session.close()
    async with working(settings), serving(application(settings)) as port, _client(port) as http:
        key = await SigningKeys(database, WRAPPING).signing()
        admin, victim, stranger = await asyncio.gather(
            signed_in(http, ADMIN), registered(http, "victim"), registered(http, "stranger")
        )
        log = await open_log(database, CODEC)
        made = House(http=http, port=port, key=key, history=log.history, admin=admin, victim=victim, stranger=stranger)
        made.product = await _product(made)
        made.order = await placed(made, victim)
        yield made
    await database.close()


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """Relay and projections run, so that there is something to read."""
    stop = asyncio.Event()
    parts = [*parts_of(["relay", "projections"]).values()]
    running = asyncio.create_task(run_parts(parts, settings, CollectorRegistry(), stop))
    try:
        yield
    finally:
        stop.set()
        await running


def _client(port: int) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)


async def registered(http: httpx2.AsyncClient, name: str) -> Person:
    """A new account, signed in."""
    email = f"{name}@people.example"
    answer = await http.post("/v1/accounts", json={"email": email, "username": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return await signed_in(http, email)


async def signed_in(http: httpx2.AsyncClient, email: str) -> Person:
    """A new session."""
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    answer = await http.post("/v1/auth/token", data=form)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    body = told["access_token"].split(".")[1]
    account = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["sub"]
    return Person(id=account, email=email, access=told["access_token"], refresh=told["refresh_token"])


async def placed(made: House, by: Person) -> str:
    """A new order."""
    answer = await made.ask("POST", "/v1/orders", by=by, json=one_of(made.product))
    assert answer.status_code == 201, answer.text
    order: str = answer.json()["id"]
    shown = {"Consistency-Token": answer.headers["consistency-token"], "Prefer": "wait=10"}
    assert (await made.ask("GET", f"/v1/orders/{order}", by=by, headers=shown)).status_code == 200
    return order


def one_of(product: str) -> dict[str, Any]:
    """The body of an order."""
    return {"items": [{"product_id": product, "quantity": 1}]}


async def _product(made: House) -> str:
    body = {
        "sku": "TEA-1",
        "name": "Tea pot",
        "price": {"amount": "10.00", "currency": "EUR"},
        "stock": 1000,
    }
    answer = await made.ask("POST", "/v1/products", by=made.admin, json=body)
    assert answer.status_code == 201, answer.text
    product: str = answer.json()["id"]
    return product


def webhook(body: bytes, *, at: float | None = None, secret: bytes = SECRET, version: str = "v1") -> dict[str, str]:
    """The headers of a payment message (Standard Webhooks 1.0)."""
    stamp = str(int(time.time() if at is None else at))
    code = base64.b64encode(hmac.digest(secret, f"msg_1.{stamp}.".encode() + body, sha256)).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"{version},{code}",
        "content-type": "application/json",
    }
