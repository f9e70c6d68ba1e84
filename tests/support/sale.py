"""A flash sale: far more customers than pieces, all at once, at several API processes; and the books that must balance.

Each customer is a task with a token and an idempotency key of its own. Who hears nothing certain asks the next process
with the same key, as a careful client does.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import uniform
from time import time
from typing import Any, Final
from uuid import UUID, uuid4

from api.scopes import scopes_of
from benchmarks.load.http_client import request
from domain.accounts import Role
from infra.configs import pool_of
from infra.identity.access_tokens import Tokens
from infra.identity.signing_keys import SigningKeys
from infra.postgres.pool import Connection, Database
from infra.settings import Settings
from tests.support.current_log import current_log
from tests.support.encryption import WRAPPING
from tests.support.log_checks import Rows, oversold, stock_after, violations, whole_log
from tests.support.people import has_account
from tests.support.serving import Line

CONNECTIONS: Final = 32
"""To each API process at most."""
PATIENCE: Final = 40.0
GONE: Final = (ConnectionError, EOFError)


class Door:
    """One API process, and at most ``CONNECTIONS`` keep-alive connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._places = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[Line] = []

    async def ask(self, message: bytes) -> tuple[int, bytes, dict[str, Any]]:
        """Status, head and document of the answer. Raises one of ``GONE`` if the process is not there to give it."""
        async with self._places:
            line = self._idle.pop() if self._idle else Line(*await asyncio.open_connection("127.0.0.1", self._port))
            try:
                head, body = await line.ask(message)
                if not head:
                    raise ConnectionResetError
            except BaseException:
                line.writer.close()
                raise
            self._idle.append(line)
        return int(head[9:12]), head, json.loads(body)

    def close(self) -> None:
        for line in self._idle:
            line.writer.close()


@dataclass(kw_only=True)
class Customer:
    """Who wants how many pieces, and what came of it: the order, or ``None`` for a refusal."""

    id: UUID
    token: str
    quantity: int
    key: str = field(default_factory=lambda: uuid4().hex)
    order: UUID | None = None
    replayed: bool = False


class Sale:
    """The sale of one product at the doors. ``uncertain`` counts what was answered with neither a yes nor a no."""

    def __init__(self, doors: Sequence[Door], product: UUID) -> None:
        self._doors = doors
        self.product = product
        self.uncertain: Counter[str] = Counter()
        self.sold = 0

    async def open(self, customers: Sequence[Customer], *, door: int | None = None) -> None:
        """All customers at once, until each has a yes or a no. They begin at one door, or at all of them in turn."""
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for number, customer in enumerate(customers):
                group.create_task(self._buy(customer, number if door is None else door))

    async def _buy(self, customer: Customer, turn: int) -> None:
        body = json.dumps({"items": [{"product_id": str(self.product), "quantity": customer.quantity}]}).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {customer.token}",
            "Idempotency-Key": customer.key,
        }
        message = request("POST", "/v1/orders", headers, body)
        while not await self._is_answered(customer, message, self._doors[turn % len(self._doors)]):
            turn += 1
            await asyncio.sleep(uniform(0.01, 0.05))

    async def _is_answered(self, customer: Customer, message: bytes, door: Door) -> bool:
        try:
            status, head, document = await door.ask(message)
        except GONE:
            self.uncertain["unreachable"] += 1
            return False
        if status == 201:
            customer.order, customer.replayed = UUID(document["id"]), b"idempotency-replayed" in head
            self.sold += customer.quantity
        elif status != 409 or document["code"] != "out-of-stock" or document["errors"][0]["pointer"] != "/items/0":
            self.uncertain[f"{status} {document['code']}"] += 1
            return False
        return True


@asynccontextmanager
async def sale(settings: Settings, ports: Sequence[int], stock: int) -> AsyncIterator[tuple[Sale, Tokens]]:
    """A product of so many pieces on sale at these API processes, and what makes customers' tokens."""
    database = Database(pool_of(settings))
    tokens = Tokens(
        SigningKeys(database, WRAPPING),
        await current_log(database),
        now=time,
        issuer=settings.token_issuer,
        seconds=settings.access_token_seconds,
    )
    doors = [Door(port) for port in ports]
    try:
        (staff,) = await invited(tokens, [1], Role.STAFF)
        await has_account(database, staff.id, Role.STAFF)
        yield Sale(doors, await _put_on_sale(doors[0], staff.token, stock)), tokens
    finally:
        for door in doors:
            door.close()
        await database.close()


async def invited(tokens: Tokens, quantities: Sequence[int], role: Role = Role.CUSTOMER) -> list[Customer]:
    """As many people as there are quantities, each of whom wants so many pieces."""
    people = []
    for quantity in quantities:
        issued = await tokens.issue(account := uuid4(), scopes_of([role]), session_id=uuid4(), version=1)
        people.append(Customer(id=account, token=issued.token, quantity=quantity))
    return people


async def _put_on_sale(door: Door, token: str, stock: int) -> UUID:
    money = {"amount": "9.99", "currency": "EUR"}
    body = json.dumps({"sku": uuid4().hex, "name": "Kettle", "price": money, "stock": stock}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    status, _, document = await door.ask(request("POST", "/v1/products", headers, body))
    assert status == 201, document
    return UUID(document["id"])


async def books(connection: Connection, sale: Sale, customers: Sequence[Customer], stock: int) -> list[str]:
    """What is wrong after the sale: with the log, with what was told, with what was left over; nothing, if all is well.

    The log is at rest and holds nothing else that moves the product.
    """
    log = await whole_log(connection)
    left = stock_after(log, sale.product).available
    turned_away = [customer.quantity for customer in customers if customer.order is None]
    return [
        *await violations(connection),
        *oversold(log, sale.product),
        *_told_otherwise(log, customers),
        *_unpaired(log),
        *([] if stock - left == sale.sold else [f"{stock - left} pieces are gone, {sale.sold} were told to be sold"]),
        *([f"{left} are left, and one who wanted {min(turned_away)} was refused"] if left >= min(turned_away) else []),
    ]


def _told_otherwise(log: Rows, customers: Sequence[Customer]) -> list[str]:
    """Each customer has the order that they were told of and no other, with the pieces that they asked for."""
    placed = [json.loads(row["data"]) for row in log if row["type"] == "order.placed"]
    found = Counter((each["customer_id"], each["order_id"], each["lines"][0]["quantity"]) for each in placed)
    told = Counter((str(who.id), str(who.order), who.quantity) for who in customers if who.order is not None)
    lost, extra = told - found, found - told
    return [*(f"not in the log: {order}" for order in lost), *(f"nobody was told: {order}" for order in extra)][:3]


def _unpaired(log: Rows) -> list[str]:
    """Every order has its reservation in the same append, and every reservation its order."""
    wanted = Counter(
        (row["position"] + 1, data["order_id"], data["lines"][0]["product_id"], data["lines"][0]["quantity"])
        for row in log
        if row["type"] == "order.placed" and (data := json.loads(row["data"]))
    )
    found = Counter(
        (row["position"], data["order_id"], data["product_id"], data["quantity"])
        for row in log
        if row["type"] == "stock.reserved" and (data := json.loads(row["data"]))
    )
    return [f"an order and its reservation disagree: {each}" for each in (wanted - found) + (found - wanted)][:3]
