"""After a whole life through the public API, every place where something could be read is searched for secrets, and
after faults of ours for who somebody is."""

import asyncio
import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from redis.asyncio import Redis

from infra.configs import pool_of
from infra.eventsourcing.projections.generations import install
from infra.identity.signing_keys import unwrapped
from infra.postgres.pool import Database, connect
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.attacks.house import ADMIN, PASSWORD, SECRET, one_of, webhook
from tests.support.encryption import KEY, WRAPPING
from tests.support.payment_desk import raw_provider
from tests.support.serving import served
from tests.support.smtp_stub import SmtpStub, smtp_stub
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

NEW, NEWEST, WRONG = "an entirely new phrase 81", "the last of all phrases 93", "a phrase that was mistyped"
PROVIDER_KEY = "what opens the provider's till"
GRACE = {"email": "grace@people.example", "username": "gracehopper", "password": PASSWORD}
NAMES = {"username": "admiralgrace", "full_name": "Grace Brewster", "bio": "Rear admiral"}
PERSON = {"grace@", GRACE["username"], *NAMES.values()}
_TOKEN = re.compile(rb"token=3D([A-Za-z0-9_=\r\n-]{40,})")


class Life:
    """Somebody who does everything that has to do with secrets; ``secrets`` is all that must not be found."""

    def __init__(self, http: httpx2.AsyncClient, stub: SmtpStub) -> None:
        self._http = http
        self._stub = stub
        self.secrets = {PASSWORD, NEW, NEWEST, WRONG, PROVIDER_KEY}
        self.refused: list[str] = []

    async def ask(self, method: str, path: str, wanted: int, token: str = "", **more: Any) -> httpx2.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        answer = await self._http.request(method, path, headers=headers, **more)
        assert answer.status_code == wanted, answer.text
        if wanted >= 400:
            self.refused.append(answer.text)
        return answer

    async def sign_in(self, name: str, password: str, wanted: int = 200) -> dict[str, str]:
        form = {"grant_type": "password", "username": name, "password": password}
        pair: dict[str, str] = (await self.ask("POST", "/v1/auth/token", wanted, data=form)).json()
        return self._kept(pair) if wanted == 200 else pair

    async def refresh(self, token: str, wanted: int = 200) -> dict[str, str]:
        pair: dict[str, str] = (
            await self.ask("POST", "/v1/auth/refresh", wanted, json={"refresh_token": token})
        ).json()
        return self._kept(pair) if wanted == 200 else pair

    def _kept(self, pair: dict[str, str]) -> dict[str, str]:
        self.secrets |= {pair["access_token"], pair["refresh_token"]}
        return pair

    async def link(self, number: int) -> str:
        """The token in the mail of that number."""
        mail = (await self._stub.received(number, 30))[number - 1]
        found = _TOKEN.search(mail.content)
        assert found, mail.content
        token = found[1].replace(b"=\r\n", b"").split(b"\r\n")[0].decode()
        self.secrets.add(token)
        return token

    async def lived(self) -> None:
        """From registration to erasure, with every mistake on the way."""
        account = {"email": "ada@people.example", "username": "ada", "password": PASSWORD}
        await self.ask("POST", "/v1/accounts", 201, json=account)
        await self.ask("POST", "/v1/accounts", 422, json={**account, "password": WRONG, "roles": ["admin"]})
        token = await self.link(1)
        await self.ask("GET", f"/verify-email?token={token}", 200)
        await self.ask("POST", "/v1/auth/verify-email", 200, json={"token": token})
        await self.ask("GET", f"/verify-email?token={token}", 422)
        await self.sign_in("ada", WRONG, 401)
        first = await self.sign_in("ada", PASSWORD)
        second = await self.refresh(first["refresh_token"])
        third = await self.refresh(second["refresh_token"])
        await self._api_key(third["access_token"])
        await self._order(third["access_token"])
        change = {"current_password": WRONG, "new_password": NEW}
        await self.ask("PUT", "/v1/me/password", 403, third["access_token"], json=change)
        await self.ask(
            "PUT", "/v1/me/password", 204, third["access_token"], json={**change, "current_password": PASSWORD}
        )
        await self.refresh(first["refresh_token"], 401)
        mails = len(self._stub.seen)
        await self.ask("POST", "/v1/auth/password-reset", 202, json={"email": "ada@people.example"})

        async def asked() -> bool:
            return any(b"reset-password" in seen.content for seen in self._stub.seen[mails - 1 :])

        await eventually(asked, 30)
        at = next(n for n, seen in enumerate(self._stub.seen) if b"reset-password" in seen.content)
        reset = {"token": await self.link(at + 1), "password": NEWEST}
        form = {**reset, "again": NEWEST, "idempotency_key": "k"}
        await self.ask("GET", f"/reset-password?token={reset['token']}", 200)
        await self.ask("POST", f"/reset-password?token={reset['token']}", 422, data=form)
        await self.ask("POST", "/v1/auth/password-reset/confirm", 204, json=reset)
        last = await self.sign_in("ada@people.example", NEWEST)
        await self.ask("DELETE", "/v1/me", 403, last["access_token"], json={"password": WRONG})
        await self.ask("POST", "/v1/auth/logout", 204, json={"refresh_token": last["refresh_token"]})
        last = await self.sign_in("ada", NEWEST)
        await self.ask("DELETE", "/v1/me", 202, last["access_token"], json={"password": NEWEST})

    async def failed(self, database: Database) -> None:
        """Somebody registers and says who they are, and whatever of Postgres is needed for that fails: faults of ours.

        A row of theirs is refused at last, and Postgres quotes what it refuses (ASVS 5, 16.2.5).
        """
        for table in ("credentials", "claims"):
            async with away(database, table):
                await self.ask("POST", "/v1/accounts", 500, json=GRACE)
        await database.execute("ALTER TABLE mail_recipients ADD no int, ADD CONSTRAINT no NOT NULL no NOT VALID")
        await self.ask("POST", "/v1/accounts", 201, json=GRACE)
        token = (await self.sign_in(GRACE["username"], PASSWORD))["access_token"]
        async with away(database, "claims"):
            await self.ask("PATCH", "/v1/me", 500, token, json=NAMES)

        async def refused() -> bool:
            return bool(await database.fetch("SELECT FROM parked"))

        await eventually(refused, 30)

    async def _api_key(self, token: str) -> None:
        asked = {"name": "till", "scopes": ["orders:read"]}
        key = (await self.ask("POST", "/v1/me/api-keys", 201, token, json=asked)).json()["key"]
        self.secrets.add(key)
        await self.ask("GET", "/v1/orders", 200, headers={"X-API-Key": key})
        await self.ask("GET", "/v1/orders", 401, headers={"X-API-Key": key[:-1]})

    async def _order(self, token: str) -> None:
        admin = (await self.sign_in(ADMIN, PASSWORD))["access_token"]
        product = {"sku": "T", "name": "Tea", "price": {"amount": "1.00", "currency": "EUR"}, "stock": 5}
        product_id = (await self.ask("POST", "/v1/products", 201, admin, json=product)).json()["id"]
        order = (await self.ask("POST", "/v1/orders", 201, token, json=one_of(product_id))).json()["id"]
        amount = {"amount": "1.00", "currency": "EUR"}
        paid = json.dumps({"order_id": order, "payment_id": "p1", "amount": amount, "status": "succeeded"}).encode()
        for body, wanted in ((paid, 200), (paid + b" ", 401)):
            headers = webhook(paid)
            self.secrets |= {headers["webhook-signature"], SECRET.decode()}
            await self.ask("POST", "/v1/webhooks/payments", wanted, content=body, headers=headers)
        await self.ask("POST", f"/v1/orders/{order}/refund", 200, admin, json={})


@asynccontextmanager
async def working(settings: Settings, log: Path, **told: str) -> AsyncIterator[None]:
    """All workers in a process of their own, that says into ``log`` all that it ever says."""
    urls = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "worker", "all"),
            env={**os.environ, **urls, **told},
            stdout=out,
            stderr=out,
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def away(database: Database, table: str) -> AsyncIterator[None]:
    """The table is not there, for a while. Workers read others all the time, and may end by the lack of one."""
    await database.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        await database.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


@asynccontextmanager
async def overheard(url: str) -> AsyncIterator[list[str]]:
    """Every command that anybody gives to Redis: jobs with their arguments, streams, the cache, the rates."""
    said: list[str] = []
    async with Redis.from_url(url) as redis, redis.monitor() as monitor:

        async def listen() -> None:
            while True:
                said.append(str((await monitor.next_command())["command"]))

        listening = asyncio.create_task(listen())
        try:
            yield said
        finally:
            listening.cancel()
            await asyncio.wait([listening])


async def stored(database: Database) -> str:
    """Every row of every table, as text."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [await database.fetch(f'SELECT t::text AS row FROM "{table["tablename"]}" t') for table in tables]
    return "\n".join(row["row"] for found in rows for row in found)


async def kept_by_the_server(database: Database) -> set[str]:
    """What Postgres keeps for the server itself, in the forms in which it could be read there."""
    (server,) = await database.fetch("SELECT wrapped FROM server_secret")
    secret = WRAPPING.unwrap(server["wrapped"], "server_secret")
    keys = await database.fetch("SELECT kid, wrapped FROM signing_keys")
    pems = [unwrapped(row["kid"], row["wrapped"], WRAPPING).pem().decode() for row in keys]
    assert pems
    return {KEY, secret.hex(), b64encode(secret).decode(), *(pem.splitlines()[1] for pem in pems), "PRIVATE KEY"}


async def test_no_secret_can_be_read_anywhere(settings: Settings, tmp_path: Path) -> None:
    session = await connect(settings.database_url)
    await install(session, PROJECTIONS)
    await session.close()
    database, api_log, worker_log = Database(pool_of(settings)), tmp_path / "api.log", tmp_path / "worker.log"
    redis_url = settings.redis_url.get_secret_value()
    async with smtp_stub() as stub, raw_provider() as provider, overheard(redis_url) as said:
        said_back = b'{"code": "%b"}' % PROVIDER_KEY.encode()
        provider.says = [b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%b" % (len(said_back), said_back)]
        told = {
            "WEIR_LOG_LEVEL": "debug",
            "WEIR_RATE_LIMITS": "off",
            "WEIR_ADMIN_EMAIL": ADMIN,
            "WEIR_ADMIN_PASSWORD": PASSWORD,
            "WEIR_SMTP_URL": stub.url,
            "WEIR_PAYMENT_WEBHOOK_SECRET": "whsec_" + b64encode(SECRET).decode(),
            "WEIR_PAYMENT_PROVIDER_URL": provider.url,
            "WEIR_PAYMENT_PROVIDER_KEY": PROVIDER_KEY,
        }
        async with working(settings, worker_log, **told), served(settings, api_log, **told) as api:
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=20) as http:
                life = Life(http, stub)
                await life.lived()
                await life.failed(database)

                async def asked() -> bool:
                    return bool(provider.requests)

                await eventually(asked, 30)
                metrics = (await http.get("/metrics")).text
            assert await api.stop() == 0
        life.secrets |= await kept_by_the_server(database)
        places = {
            "logs of the API": api_log.read_text(),
            "logs of the workers": worker_log.read_text(),
            "error bodies": "\n".join(life.refused),
            "metrics": metrics,
            "Redis": "\n".join(said),
            "Postgres": await stored(database),
        }
        errors = "\n".join(row["error"] for row in await database.fetch("SELECT error FROM parked"))
    await database.close()
    assert "send_mail" in places["Redis"] or "mail" in places["Redis"], "jobs were overheard"
    assert '"event":"request"' in places["logs of the API"]
    assert "account.registered" in places["Postgres"]
    assert "HTTP 401" in places["Postgres"]
    assert PROVIDER_KEY.encode() in provider.requests[0]
    assert '"status":500' in places["logs of the API"]
    assert "UndefinedTableError" in places["logs of the API"]
    assert "Failing row contains" in places["logs of the workers"]
    assert "Failing row contains" in errors
    told = {place: text for place, text in places.items() if place not in ("Redis", "Postgres")}
    for place, text in {**told, "errors that are kept": errors}.items():
        for name in PERSON:
            assert name.lower() not in text.lower(), f"{place}: {name}"
    for place, text in places.items():
        for secret in life.secrets:
            assert secret not in text, f"{place}: {secret[:12]}…"
            assert quote(secret) not in text, f"{place}: {secret[:12]}…"
