"""Customers who keep ordering and paying while things are killed, and who remember every answer they got."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx2

from domain.inventory import INVENTORY
from domain.kernel.unit_of_work import StreamRef, UnitOfWork
from domain.orders import ORDERS, order_number
from domain.workflows.checkout import stock_moves
from infra.errors import TooBusy
from infra.payments.webhook_signature import sign
from tests.support.builders import order_line, place_order
from tests.support.write_side import context, write_side

STOCK: Final = 1_000_000
PATIENCE: Final = 60.0
THINKING: Final = 0.1
"""Seconds between a customer's orders: the load is steady, so that there is something to lose at every moment."""
UNCERTAIN: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(kw_only=True)
class Acknowledged:
    """What was answered 2xx: order ids by what was done with them."""

    placed: list[str] = field(default_factory=list)
    paid: list[str] = field(default_factory=list)
    shipped: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)


class Operated(Protocol):
    """A running stack, as its operator knows it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What its processes are told, the secrets too."""
        ...

    @property
    def direct_url(self) -> str:
        """Where its log is."""
        ...


class Shoppers:
    """``count`` customers of a running stack. Whatever is not answered for certain is asked again with the same key.

    Where the database ``fails_over``, their access ends with the history of the log, and they sign in again.
    """

    def __init__(self, stack: Operated, http: httpx2.AsyncClient, count: int, *, fails_over: bool = False) -> None:
        self._fails_over = fails_over
        self._signed_in: dict[str, tuple[str, str]] = {}
        self._renewed: dict[str, dict[str, str]] = {}
        self._stack = stack
        self.http = http
        self._count = count
        self._open = asyncio.Event()
        self.acknowledged = Acknowledged()
        self.products: list[str] = []
        self.accounts: list[UUID] = []
        self._passwords: list[tuple[str, str]] = []
        self.unexpected: list[str] = []

    async def enter(self) -> None:
        """Sign in and stock the shelves."""
        await self._enter_as_admin()
        self._customers = [await self._customer() for _ in range(self._count)]
        for _ in range(3):
            body = {
                "sku": uuid4().hex,
                "name": "Kettle",
                "price": {"amount": "9.99", "currency": "EUR"},
                "stock": STOCK,
            }
            self.products.append((await self._command("/v1/products", body, self._admin)).json()["id"])

    async def sign_in_again(self) -> None:
        """All of them, and the admin: their sessions have ended."""
        await self._enter_as_admin()
        self._customers = [await self._sign_in(*each) for each in self._passwords]

    async def shop(self) -> None:
        """Order, pay, and every third time ship, until told to stop; what was begun is finished."""
        self._open.set()
        async with asyncio.TaskGroup() as group:
            for customer in self._customers:
                group.create_task(self._shop(customer))

    def stop(self) -> None:
        """No new orders."""
        self._open.clear()

    async def ask(self, path: str, **headers: str) -> httpx2.Response:
        """Whatever the API answers the admin."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(path, headers={**self._admin, **named})

    async def document(self, path: str) -> dict[str, Any]:
        """What the API serves, to the admin."""
        answer = await self.http.get(path, headers=self._as_now(self._admin))
        if await self._lets_in_again(answer, self._admin):
            return await self.document(path)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def order(self) -> httpx2.Response:
        """One try at an order by the first customer, whatever comes of it."""
        headers = {**self._customers[0], "Idempotency-Key": secrets.token_hex(12)}
        return await self.http.post("/v1/orders", json=self._basket(), headers=headers)

    async def order_and_pay(self) -> httpx2.Response:
        """One order by the first customer, paid; answers the receipt of the payment."""
        return await self._buy(self._customers[0])

    async def order_without_paying(self, left: timedelta) -> UUID:
        """An order by the first customer that has so much time left, less than anybody gets by HTTP."""
        order, product = uuid4(), UUID(self.products[0])

        def decide(work: UnitOfWork) -> None:
            command = place_order(
                order_id=order,
                order_no=order_number(order, datetime.now(UTC).year),
                customer_id=self.accounts[0],
                lines=(order_line(product_id=product),),
                expires_at=datetime.now(UTC) + left,
            )
            (placed,) = work.execute(ORDERS, order, command)
            for move in stock_moves(placed):
                work.execute(INVENTORY, move.product_id, move)

        targets: list[StreamRef] = [(ORDERS, order), (INVENTORY, product)]
        async with asyncio.timeout(30), write_side(self._stack.direct_url) as side:
            while True:
                with suppress(TooBusy):  # others want the product, too: it comes back, as any client that is told so
                    outcome = await side.commands.run(targets, decide, context(), new=1)
                    break
        self.acknowledged.placed.append(str(order))
        self.acknowledged.positions.append(outcome.position)
        return order

    async def refund(self, order: str) -> None:
        """The staff gives the money of a paid order back."""
        await self._command(f"/v1/orders/{order}/refund", {}, self._admin)

    async def read_back(self, paid: httpx2.Response) -> dict[str, Any]:
        """The order as it is after its payment, by the payment's token."""
        headers = {**self._customers[0], "Consistency-Token": paid.headers["Consistency-Token"], "Prefer": "wait=10"}
        answer = await self.http.get(f"/v1/orders/{paid.json()['id']}", headers=headers)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def _enter_as_admin(self) -> None:
        environment = self._stack.environment
        self._admin = await self._sign_in(environment["WEIR_ADMIN_EMAIL"], environment["WEIR_ADMIN_PASSWORD"])

    async def orders_of_first(self, token: str) -> dict[str, str] | None:
        """The newest orders of the first customer with their states, by a token; None where nobody answers for now."""
        headers = self._as_now({**self._customers[0], "Consistency-Token": token, "Prefer": "wait=5"})
        try:
            answer = await self.http.get("/v1/orders?limit=100", headers=headers)
        except httpx2.TransportError:
            return None
        if answer.status_code in UNCERTAIN or await self._lets_in_again(answer, self._customers[0]):
            return None
        assert answer.status_code == 200, answer.text
        return {item["id"]: item["status"] for item in answer.json()["items"]}

    async def _shop(self, customer: Mapping[str, str]) -> None:
        done = self.acknowledged
        while self._open.is_set():
            paid = await self._buy(customer)
            if len(done.paid) % 3 == 0:
                order, parcel = paid.json()["id"], {"carrier": "Post", "tracking_no": secrets.token_hex(4)}
                await self._command(f"/v1/orders/{order}/ship", parcel, self._admin)
                done.shipped.append(order)
            await asyncio.sleep(THINKING)

    async def _buy(self, customer: Mapping[str, str]) -> httpx2.Response:
        order = (await self._command("/v1/orders", self._basket(), customer)).json()
        self.acknowledged.placed.append(order["id"])
        paid = await self._pay(order)
        self.acknowledged.paid.append(order["id"])
        return paid

    def _basket(self) -> dict[str, Any]:
        return {"items": [{"product_id": secrets.choice(self.products), "quantity": 1 + secrets.randbelow(3)}]}

    async def _pay(self, order: Mapping[str, Any]) -> httpx2.Response:
        payment = {
            "order_id": order["id"],
            "payment_id": f"pay_{order['id']}",
            "amount": order["total"],
            "status": "succeeded",
        }
        body = json.dumps(payment).encode()
        secret = self._stack.environment["WEIR_PAYMENT_WEBHOOK_SECRET"]
        headers = {"Content-Type": "application/json", **sign(secret, body)}
        return await self._until_certain("/v1/webhooks/payments", body, headers)

    async def _command(self, path: str, body: Any, who: Mapping[str, str]) -> httpx2.Response:
        key = {"Idempotency-Key": secrets.token_hex(12), "Content-Type": "application/json"}
        return await self._until_certain(path, json.dumps(body).encode(), {**who, **key})

    async def _until_certain(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx2.Response:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self.http.post(path, content=body, headers=self._as_now(headers))
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                if 200 <= answer.status_code < 300:
                    self.acknowledged.positions.append(answer.json()["position"])
                    return answer
                if await self._lets_in_again(answer, headers):
                    continue
                if answer.status_code not in UNCERTAIN and "in-flight" not in answer.text:
                    raise AssertionError(f"{path} answered {answer.status_code}: {answer.text}")
                if answer.status_code == 500:
                    self.unexpected.append(answer.text)
                await asyncio.sleep(0.05)

    async def _customer(self) -> dict[str, str]:
        name, password = uuid4().hex, secrets.token_urlsafe(12)
        body = {"email": f"{name}@example.com", "username": name, "password": password}
        self.accounts.append(UUID((await self._command("/v1/accounts", body, {})).json()["id"]))
        self._passwords.append((name, password))
        return await self._sign_in(name, password)

    async def _sign_in(self, name: str, password: str) -> dict[str, str]:
        answer = await self._asked_for_access(name, password)
        assert answer.status_code == 200, answer.text
        access = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self._signed_in[access["Authorization"]] = (name, password)
        return access

    async def _asked_for_access(self, name: str, password: str) -> httpx2.Response:
        form = urlencode({"grant_type": "password", "username": name, "password": password}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.http.post("/v1/auth/token", content=form, headers=kind)

    def _as_now(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """With the access that came of signing in again."""
        return {**headers, **self._renewed.get(headers.get("Authorization", ""), {})}

    async def _lets_in_again(self, answer: httpx2.Response, headers: Mapping[str, str]) -> bool:
        """Whether the access had ended, and who had it is, or soon will be, signed in again."""
        who = self._signed_in.get(headers.get("Authorization", ""))
        if answer.status_code != 401 or who is None or not self._fails_over:
            return False
        with suppress(httpx2.TransportError):
            renewed = await self._asked_for_access(*who)
            if renewed.status_code == 200:
                token = renewed.json()["access_token"]
                self._renewed[headers["Authorization"]] = {"Authorization": f"Bearer {token}"}
        return True
