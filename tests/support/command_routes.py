"""Every command of the API as one request that succeeds: what tests of all of them at once go through."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

import httpx2
import orjson

from api.main import create_app
from api.scopes import scopes_of
from domain.accounts import ACCOUNTS, RequestPasswordReset, Role
from infra.configs import pool_of
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import one_time_links as links
from infra.identity.access_tokens import Tokens
from infra.identity.one_time_links import Link, Links, Purpose, lives_of
from infra.identity.server_secret import ServerSecret
from infra.identity.signing_keys import SigningKeys
from infra.payments.webhook_signature import sign
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.api_client import Process, endpoints
from tests.support.current_log import current_log
from tests.support.encryption import WRAPPING
from tests.support.house import ANOTHER, PASSWORD
from tests.support.people import has_account
from tests.support.pictures import png
from tests.support.shop import SECRET
from tests.support.webhooks import has_delivery

MONEY: Final = {"amount": "9.90", "currency": "EUR"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, and how its answer looks.

    ``other`` is what makes it another request to the same route; ``ends``: it ends the access of who sends it.
    """

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    ends: bool = False

    @property
    def changed(self) -> "Asked":
        """Another request to the same route."""
        return replace(self, **self.other)

    async def send(self, api: httpx2.AsyncClient, key: str) -> httpx2.Response:
        """Its answer under an idempotency key."""
        content = self.body if isinstance(self.body, bytes) else b"" if self.body is None else orjson.dumps(self.body)
        headers = {"content-type": "application/json", **self.headers, "idempotency-key": key}
        if self.path == "/v1/webhooks/payments":
            headers |= sign(SECRET, content)
        return await api.request(self.method, self.path, content=content, headers=headers)


@dataclass(kw_only=True)
class Stage:
    """An API, and what each request needs to find there. ``staff`` are the credentials of somebody who may do all."""

    api: httpx2.AsyncClient
    database: Database
    commands: CommandHandler
    staff: Mapping[str, str]
    links: Links
    names: dict[str, str] = field(default_factory=dict)

    async def person(self) -> tuple[str, dict[str, str]]:
        """The id and the credentials of somebody new who has signed in."""
        name = uuid4().hex
        body = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
        account_id = (await self.api.post("/v1/accounts", json=body)).json()["id"]
        self.names[account_id] = name
        return account_id, await self.sign_in(account_id)

    async def sign_in(self, account_id: str) -> dict[str, str]:
        """The credentials of another session of somebody who is here."""
        form = {"grant_type": "password", "username": self.names[account_id], "password": PASSWORD}
        pair = (await self.api.post("/v1/auth/token", data=form)).json()
        return {"authorization": f"Bearer {pair['access_token']}"}

    async def member(self) -> dict[str, str]:
        """The credentials of somebody new of the staff."""
        account_id, _ = await self.person()
        asked = await self.api.put(
            f"/v1/accounts/{account_id}/roles", json={"roles": ["staff"]}, headers=dict(self.staff)
        )
        assert asked.is_success, asked.text
        return await self.sign_in(account_id)

    async def product(self) -> str:
        return await self.made("/v1/products", {"sku": uuid4().hex, "name": "Kettle", "price": MONEY, "stock": 50})

    async def order(self, *further: str) -> str:
        """An order that is paid, and shipped, if asked for."""
        order_id = await self.made("/v1/orders", {"items": [{"product_id": await self.product(), "quantity": 1}]})
        if "pay" in further:
            assert (await payment(order_id).send(self.api, uuid4().hex)).status_code == 200
        if "ship" in further:
            parcel = {"carrier": "DHL", "tracking_no": "1"}
            asked = Asked(method="POST", path=f"/v1/orders/{order_id}/ship", body=parcel, headers=self.staff)
            assert (await asked.send(self.api, uuid4().hex)).status_code == 200
        return order_id

    async def link(self, purpose: Purpose) -> str:
        """The token of a link in a mail to somebody new."""
        account_id, _ = await self.person()
        if purpose is Purpose.RESET_PASSWORD:
            asked = (ACCOUNTS, UUID(account_id)), RequestPasswordReset(), CommandContext(principal="tester")
            await self.commands.handle(*asked)
        link = Link(link_id=uuid4(), account_id=UUID(account_id), purpose=purpose, account_version=1)
        async with self.database.write() as connection:
            await links.write(connection, [link], lives_of(Settings()))
        return await self.links.token(purpose, link.link_id)

    async def made(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> str:
        """The id of what the request makes."""
        answer = await self.api.post(path, json=body, headers=dict(headers or self.staff))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def position(self) -> int:
        """How many events there are."""
        row = await self.database.fetchrow("SELECT log_position() AS position")
        assert row is not None
        return int(row["position"])


@asynccontextmanager
async def staged(settings: Settings, process: Process) -> AsyncIterator[Stage]:
    """The stage before an API process."""
    database = Database(pool_of(settings))
    secret = ServerSecret(database, WRAPPING)
    tokens = Tokens(
        SigningKeys(database, WRAPPING),
        await current_log(database),
        now=time,
        issuer=settings.token_issuer,
        seconds=settings.access_token_seconds,
    )
    await has_account(database, staff_id := uuid4(), *Role)
    issued = await tokens.issue(staff_id, scopes_of(tuple(Role)), session_id=uuid4(), version=1)
    staff = {"authorization": f"Bearer {issued.token}"}
    commands = process.state["write_side"].handler
    yield Stage(api=process.client, database=database, commands=commands, staff=staff, links=Links(database, secret))
    await database.close()


Prepare = Callable[[Stage], Awaitable[Asked]]


async def _register(_: Stage) -> Asked:
    body = {"email": f"{uuid4().hex}@example.org", "username": uuid4().hex, "password": PASSWORD}
    other = {"body": {**body, "username": uuid4().hex}}
    return Asked(method="POST", path="/v1/accounts", body=body, other=other, status=201)


async def _change_me(stage: Stage) -> Asked:
    _, me = await stage.person()
    body, other = {"full_name": "Ada"}, {"body": {"full_name": "Eve"}}
    return Asked(method="PATCH", path="/v1/me", body=body, headers=me, other=other)


async def _change_password(stage: Stage) -> Asked:
    _, me = await stage.person()
    body = {"current_password": PASSWORD, "new_password": ANOTHER}
    other = {"body": {**body, "new_password": "something else again"}}
    return Asked(method="PUT", path="/v1/me/password", body=body, headers=me, other=other, status=204)


async def _erase_me(stage: Stage) -> Asked:
    _, me = await stage.person()
    other = {"path": "/v1/me?x"}
    body = {"password": PASSWORD}
    return Asked(method="DELETE", path="/v1/me", body=body, headers=me, other=other, status=202, ends=True)


async def _end_session(stage: Stage) -> Asked:
    _, me = await stage.person()
    sessions = (await stage.api.get("/v1/me/sessions", headers=me)).json()["items"]
    other = {"path": f"/v1/me/sessions/{uuid4()}"}
    path = f"/v1/me/sessions/{sessions[0]['id']}"
    return Asked(method="DELETE", path=path, headers=me, other=other, status=204, ends=True)


async def _ask_for_verification(stage: Stage) -> Asked:
    _, me = await stage.person()
    return Asked(method="POST", path="/v1/me/verify-email", headers=me, other={"body": {}}, status=202)


async def _verify_email(stage: Stage) -> Asked:
    body = {"token": await stage.link(Purpose.VERIFY_EMAIL)}
    return Asked(method="POST", path="/v1/auth/verify-email", body=body, other={"path": "/v1/auth/verify-email?x"})


async def _confirm_reset(stage: Stage) -> Asked:
    body = {"token": await stage.link(Purpose.RESET_PASSWORD), "password": ANOTHER}
    other = {"body": {**body, "password": "something else again"}}
    return Asked(method="POST", path="/v1/auth/password-reset/confirm", body=body, other=other, status=204)


async def _make_api_key(stage: Stage) -> Asked:
    _, me = await stage.person()
    body = {"name": "backup", "scopes": ["orders:read"]}
    other = {"body": {**body, "name": "other"}}
    return Asked(method="POST", path="/v1/me/api-keys", body=body, headers=me, other=other, status=201)


async def _revoke_api_key(stage: Stage) -> Asked:
    _, me = await stage.person()
    body = {"name": "backup", "scopes": ["orders:read"]}
    one, two = [await stage.made("/v1/me/api-keys", body, me) for _ in range(2)]
    other = {"path": f"/v1/me/api-keys/{two}"}
    return Asked(method="DELETE", path=f"/v1/me/api-keys/{one}", headers=me, other=other, status=204)


def _of_account(method: str, last: str, told: Any = None, **other: Any) -> Prepare:
    async def prepare(stage: Stage) -> Asked:
        account_id, _ = await stage.person()
        another, _ = await stage.person()
        path = "/v1/accounts/{}" + last
        changed = other or {"path": path.format(another)}
        return Asked(method=method, path=path.format(account_id), body=told, headers=stage.staff, other=changed)

    return prepare


async def _add_product(stage: Stage) -> Asked:
    body = {"sku": uuid4().hex, "name": "Kettle", "price": MONEY}
    other = {"body": {**body, "name": "Tea pot"}}
    return Asked(method="POST", path="/v1/products", body=body, headers=stage.staff, other=other, status=201)


def _of_product(method: str, last: str, told: Any, **other: Any) -> Prepare:
    async def prepare(stage: Stage) -> Asked:
        path = f"/v1/products/{await stage.product()}{last}"
        changed = other or {"path": f"/v1/products/{await stage.product()}{last}"}
        return Asked(method=method, path=path, body=told, headers=stage.staff, other=changed)

    return prepare


async def _change_image(stage: Stage) -> Asked:
    path = f"/v1/products/{await stage.product()}/image"
    headers = {**stage.staff, "content-type": "image/png"}
    return Asked(method="PUT", path=path, body=png(4, 4), headers=headers, other={"body": png(5, 5)})


async def _import(stage: Stage) -> Asked:
    headers = {**stage.staff, "content-type": "text/csv"}
    body = f"sku,name,price,currency\n{uuid4().hex},Kettle,9.90,EUR\n".encode()
    other = {"body": body + b"X,Tea pot,9.90,EUR\n"}
    return Asked(method="POST", path="/v1/products/import", body=body, headers=headers, other=other, status=202)


async def _place_order(stage: Stage) -> Asked:
    body = {"items": [{"product_id": await stage.product(), "quantity": 1}]}
    other = {"body": {"items": [{**body["items"][0], "quantity": 2}]}}
    return Asked(method="POST", path="/v1/orders", body=body, headers=stage.staff, other=other, status=201)


def _of_order(last: str, body: Any = None, *further: str) -> Prepare:
    async def prepare(stage: Stage) -> Asked:
        path = f"/v1/orders/{await stage.order(*further)}/{last}"
        other = {"path": f"/v1/orders/{await stage.order(*further)}/{last}"}
        return Asked(method="POST", path=path, body=body, headers=stage.staff, other=other)

    return prepare


WEBHOOK: Final = {"url": "https://hooks.example/orders", "event_types": ["order.paid"]}


async def _register_webhook(stage: Stage) -> Asked:
    other = {"body": {**WEBHOOK, "event_types": ["order.shipped"]}}
    member = await stage.member()
    return Asked(method="POST", path="/v1/webhooks", body=WEBHOOK, headers=member, other=other, status=201)


def _of_webhook(method: str, last: str = "", told: Any = None, **other: Any) -> Prepare:
    async def prepare(stage: Stage) -> Asked:
        member = await stage.member()
        one, two = [f"/v1/webhooks/{await stage.made('/v1/webhooks', WEBHOOK, member)}{last}" for _ in range(2)]
        return Asked(method=method, path=one, body=told, headers=member, other=other or {"path": two})

    return prepare


async def _send_again(stage: Stage) -> Asked:
    account_id, _ = await stage.person()
    asked = await stage.api.put(
        f"/v1/accounts/{account_id}/roles", json={"roles": ["staff"]}, headers=dict(stage.staff)
    )
    assert asked.is_success, asked.text
    webhook_id, delivery_id = await has_delivery(stage.database, UUID(account_id))
    path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/send-again"
    headers = await stage.sign_in(account_id)
    return Asked(method="POST", path=path, headers=headers, other={"path": f"{path}?x"}, status=202)


def _steps() -> Iterator[tuple[str, str]]:
    for method, path in endpoints(create_app(Settings())):
        if method == "POST" and path.startswith("/v1/orders/{order_id}/"):
            yield method, path


def payment(order_id: str) -> Asked:
    """What the provider tells of an order that is paid."""
    body = {"order_id": order_id, "payment_id": uuid4().hex, "amount": MONEY, "status": "succeeded"}
    other = {"body": {**body, "payment_id": "another"}}
    return Asked(method="POST", path="/v1/webhooks/payments", body=body, other=other)


async def _payment(stage: Stage) -> Asked:
    return payment(await stage.order())


async def _open_room(stage: Stage) -> Asked:
    body, other = {"name": "Tea"}, {"body": {"name": "Coffee"}}
    return Asked(method="POST", path="/v1/rooms", body=body, headers=stage.staff, other=other, status=201)


def _of_room(method: str, last: str, body: Any = None, status: int = 200) -> Prepare:
    async def prepare(stage: Stage) -> Asked:
        path, another = [f"/v1/rooms/{await stage.made('/v1/rooms', {'name': 'Tea'})}{last}" for _ in range(2)]
        other = {"path": another}
        return Asked(method=method, path=path, body=body, headers=stage.staff, other=other, status=status)

    return prepare


ROUTES: Final[Mapping[tuple[str, str], Prepare]] = {
    ("POST", "/v1/accounts"): _register,
    ("POST", "/v1/accounts/{account_id}/deactivate"): _of_account("POST", "/deactivate"),
    ("POST", "/v1/accounts/{account_id}/activate"): _of_account("POST", "/activate"),
    ("PUT", "/v1/accounts/{account_id}/roles"): _of_account(
        "PUT", "/roles", {"roles": ["staff"]}, body={"roles": ["admin"]}
    ),
    ("DELETE", "/v1/accounts/{account_id}"): _of_account("DELETE", ""),
    ("POST", "/v1/auth/verify-email"): _verify_email,
    ("POST", "/v1/auth/password-reset/confirm"): _confirm_reset,
    ("POST", "/v1/me/verify-email"): _ask_for_verification,
    ("PATCH", "/v1/me"): _change_me,
    ("DELETE", "/v1/me"): _erase_me,
    ("PUT", "/v1/me/password"): _change_password,
    ("DELETE", "/v1/me/sessions/{session_id}"): _end_session,
    ("POST", "/v1/me/api-keys"): _make_api_key,
    ("DELETE", "/v1/me/api-keys/{key_id}"): _revoke_api_key,
    ("POST", "/v1/products"): _add_product,
    ("PATCH", "/v1/products/{product_id}"): _of_product("PATCH", "", {"name": "Pot"}, body={"name": "Tea pot"}),
    ("POST", "/v1/products/{product_id}/stock"): _of_product("POST", "/stock", {"change": 1, "reason": "count"}),
    ("DELETE", "/v1/products/{product_id}"): _of_product("DELETE", "", None),
    ("PUT", "/v1/products/{product_id}/image"): _change_image,
    ("POST", "/v1/products/import"): _import,
    ("POST", "/v1/orders"): _place_order,
    # A step of an order needs a paid one, and nothing else, unless it is said below.
    **{(method, path): _of_order(path.rpartition("/")[2], None, "pay") for method, path in _steps()},
    ("POST", "/v1/orders/{order_id}/cancel"): _of_order("cancel"),
    ("POST", "/v1/orders/{order_id}/ship"): _of_order("ship", {"carrier": "DHL", "tracking_no": "1"}, "pay"),
    ("POST", "/v1/orders/{order_id}/complete"): _of_order("complete", None, "pay", "ship"),
    ("POST", "/v1/webhooks/payments"): _payment,
    ("POST", "/v1/rooms"): _open_room,
    ("DELETE", "/v1/rooms/{room_id}"): _of_room("DELETE", ""),
    ("POST", "/v1/rooms/{room_id}/members"): _of_room("POST", "/members"),
    ("DELETE", "/v1/rooms/{room_id}/members/{account_id}"): _of_room("DELETE", f"/members/{uuid4()}"),
    ("POST", "/v1/rooms/{room_id}/messages"): _of_room("POST", "/messages", {"text": "hello"}, 201),
    ("POST", "/v1/webhooks"): _register_webhook,
    ("PATCH", "/v1/webhooks/{webhook_id}"): _of_webhook("PATCH", "", {"active": False}, body={"description": "x"}),
    ("DELETE", "/v1/webhooks/{webhook_id}"): _of_webhook("DELETE"),
    ("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/send-again"): _send_again,
    ("POST", "/v1/webhooks/{webhook_id}/rotate-secret"): _of_webhook("POST", "/rotate-secret"),
}
"""Those that honour an idempotency key."""
