"""The API with people who have accounts in it, and the office where their mail arrives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx2
import jwt

from infra.identity.sessions import GRACE_SECONDS
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import api_client
from tests.support.mail_office import Office, mail_office
from tests.support.write_side import eventually

PASSWORD, ANOTHER = "correct horse battery", "staple of the stable"


@dataclass(kw_only=True)
class House:
    """The API, the tasks worker when it runs, and where its mail arrives."""

    api: httpx2.AsyncClient
    office: Office

    @property
    def database(self) -> Database:
        return self.office.database

    async def registered(self, name: str = "Ada") -> UUID:
        body = {"email": f"{name}@Example.org", "username": name, "password": PASSWORD}
        answer = await self.api.post("/v1/accounts", json=body)
        assert answer.status_code == 201, answer.text
        return UUID(answer.json()["id"])

    async def sign_in(self, name: str = "Ada", password: str = PASSWORD, **more: str) -> httpx2.Response:
        form = {"grant_type": "password", "username": name, "password": password, **more}
        return await self.api.post("/v1/auth/token", data=form, headers={"user-agent": "a\x07 browser" + "x" * 300})

    async def signed_in(self, name: str = "Ada", password: str = PASSWORD) -> "Session":
        answer = await self.sign_in(name, password)
        assert answer.status_code == 200, answer.text
        return Session(self.api, answer.json())

    async def admin(self) -> "Session":
        await self.registered("Root")
        await self._append_roles("Root")
        return await self.signed_in("Root")

    async def _append_roles(self, name: str) -> None:
        """As an operator at the database would."""
        await self.database.execute(
            "INSERT INTO events SELECT log_position() + 1, e.stream_id, 2, 'account', e.shard, 'account.roles_changed',"
            " 1, jsonb_build_object('account_id', e.stream_id, 'roles', jsonb_build_array('admin')), '{}', now()"
            " FROM events e WHERE e.type = 'account.registered' AND e.data ->> 'username' = $1",
            name,
        )

    async def told(self, account_id: UUID) -> list[str]:
        rows = await self.database.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", account_id)
        return [row["type"].removeprefix("account.") for row in rows]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.fetch(f"SELECT * FROM {table}")]

    async def mailed(self, subject: str, number: int = 1) -> Any:
        """The last of so many mails with that subject, when it has come."""

        async def there() -> bool:
            return len(self._with(subject)) >= number

        await eventually(there, seconds=15)
        return self._with(subject)[number - 1]

    async def link(self, subject: str, number: int = 1) -> str:
        """The token of the link in that mail."""
        (token,) = parse_qs(urlsplit(await self.address(subject, number)).query)["token"]
        return token

    async def address(self, subject: str, number: int = 1) -> str:
        """The link in that mail, as it stands there."""
        mail = await self.mailed(subject, number)
        (url,) = [word for word in _plain(mail.message).split() if "token=" in word]
        assert url.startswith("http://shop.test/")
        return str(url)

    def _with(self, subject: str) -> list[Any]:
        return [seen for seen in self.office.stub.seen if seen.message["Subject"] == subject]


def _plain(message: Message) -> str:
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


class Session:
    """Somebody signed in, with the newest pair of tokens."""

    def __init__(self, api: httpx2.AsyncClient, pair: dict[str, Any]) -> None:
        self._api = api
        self.pair = pair

    @property
    def claims(self) -> dict[str, Any]:
        return jwt.decode(self.pair["access_token"], options={"verify_signature": False})

    @property
    def id(self) -> UUID:
        return UUID(self.claims["sid"])

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        bearer = {"Authorization": f"Bearer {self.pair['access_token']}"}
        return await self._api.request(method, path, json=body, headers={**bearer, **named})

    async def refresh(self, token: str | None = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = {"refresh_token": token or self.pair["refresh_token"]}
        answer = await self._api.post("/v1/auth/refresh", json=body, headers=named)
        if answer.status_code == 200:
            self.pair = answer.json()
        return answer

    async def is_alive(self) -> bool:
        return (await self.refresh()).status_code == 200


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """An API process of its own, and a mail server for the tasks worker."""
    changed = {"log_level": "error", "public_url": "http://shop.test/", "rate_limits": "off", "lease_seconds": 1.0}
    async with mail_office(settings.model_copy(update=changed)) as office, api_client(office.settings) as api:
        yield House(api=api, office=office)


async def age(house: House, interval: str = f"{GRACE_SECONDS + 1} seconds") -> None:
    await house.database.execute(f"UPDATE refresh_tokens SET used_at = used_at - interval '{interval}'")
