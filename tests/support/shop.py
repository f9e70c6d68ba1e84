"""The API as its clients see it: a real server on a free port, accounts made with a token each, and a few habits."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import uvicorn
from pydantic import SecretStr

from api.http.connection.protocol import Protocol
from api.http.connection.server import Server
from api.http.connection.socket_protocol import SocketProtocol
from api.scopes import scopes_of
from domain.accounts import Role
from infra.configs import pool_of
from infra.eventsourcing.projections.generations import install
from infra.identity.access_tokens import Tokens
from infra.identity.signing_keys import SigningKeys
from infra.postgres.clock import PostgresClock
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.api_client import application
from tests.support.current_log import current_log
from tests.support.encryption import WRAPPING
from tests.support.people import has_account
from tests.support.write_side import connected

SECRET: Final = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes!").decode()


@dataclass(frozen=True, kw_only=True)
class Client:
    """Somebody at the door. ``id`` is the account; ``headers`` are its credentials, of that session."""

    http: httpx2.AsyncClient
    id: UUID
    headers: Mapping[str, str]
    session: str = ""

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """One request; header names with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, path, json=body, headers={**self.headers, **named})

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """A command."""
        return await self.send("POST", path, body, **headers)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A running API on the database of the test."""

    http: httpx2.AsyncClient
    database: Database
    tokens: Tokens
    server: Server

    async def client(self, *roles: Role) -> Client:
        """Somebody with these roles; a customer, for whom a token is enough, if none are named."""
        client = await self.nobody(*roles)
        if roles:
            await has_account(self.database, client.id, *roles)
        return client

    async def nobody(self, *roles: Role) -> Client:
        """Somebody whose token says so much, and who has no account."""
        account_id, scopes = uuid4(), scopes_of(roles or (Role.CUSTOMER,))
        issued = await self.tokens.issue(account_id, scopes, session_id=(session_id := uuid4()), version=1)
        headers = {"Authorization": f"Bearer {issued.token}"}
        return Client(http=self.http, id=account_id, headers=headers, session=str(session_id))

    async def product(self, stock: int = 50, price: str = "10.00") -> str:
        """The id of a new product."""
        staff = await self.client(Role.STAFF)
        money = {"amount": price, "currency": "EUR"}
        answer = await staff.post(
            "/v1/products", {"sku": uuid4().hex, "name": "Kettle", "price": money, "stock": stock}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def stored(self) -> tuple[int, ...]:
        """How much there is of all that a command can store."""
        row = await self.database.fetchrow(
            "SELECT log_position(), (SELECT count(*) FROM events), (SELECT count(*) FROM claims),"
            " (SELECT count(*) FROM commands), (SELECT count(*) FROM credentials)"
        )
        return tuple(row or ())


@asynccontextmanager
async def shop(settings: Settings) -> AsyncIterator[Shop]:
    """The API, served until the end of the block."""
    settings = settings.model_copy(update={"payment_webhook_secret": SecretStr(SECRET)})
    sockets: Any = {"ws": SocketProtocol, "ws_max_size": 64 * 1024, "ws_per_message_deflate": False}
    server = Server(
        uvicorn.Config(application(settings), port=0, log_config=None, access_log=False, http=Protocol, **sockets)
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.wait([serving], timeout=0.01)
            if serving.done():
                serving.result()
                raise RuntimeError("the API did not start")
        port = server.servers[0].sockets[0].getsockname()[1]
        database = Database(pool_of(settings))
        clock = PostgresClock(database)
        await clock.now()
        tokens = Tokens(
            SigningKeys(database, WRAPPING),
            await current_log(database),
            now=clock.told,
            issuer=settings.token_issuer,
            seconds=settings.access_token_seconds,
        )
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield Shop(http=http, database=database, tokens=tokens, server=server)
        await database.close()
    finally:
        server.should_exit = True
        await serving


async def bearer(settings: Settings, account_id: UUID, *roles: Role) -> Mapping[str, str]:
    """Credentials of somebody with these roles, in the history that the log has now: what a refresh would bring."""
    database = Database(pool_of(settings))
    try:
        log = await current_log(database)
        tokens = Tokens(
            SigningKeys(database, WRAPPING),
            log,
            now=time,
            issuer=settings.token_issuer,
            seconds=settings.access_token_seconds,
        )
        issued = await tokens.issue(account_id, scopes_of(roles or (Role.CUSTOMER,)), session_id=uuid4(), version=1)
    finally:
        await database.close()
    return {"Authorization": f"Bearer {issued.token}"}


@asynccontextmanager
async def shop_with_lists(settings: Settings) -> AsyncIterator[Shop]:
    """The same, with its read models laid down: nothing is in them, as no worker runs."""
    async with connected(settings.database_url.get_secret_value()) as connection:
        await install(connection, PROJECTIONS)
    async with shop(settings) as running:
        yield running
