"""A day in the shop, through nginx: one customer from the first visit to the parcel, then many who keep ordering."""

import asyncio
import json
import os
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2
from weir_client.models import OrderStatus

from cli.demo.calls import Clients
from cli.demo.customer import Customer
from cli.demo.followed_order import followed
from cli.demo.staff import Staff
from cli.demo.talk import talk
from cli.demo.visit import Shop, Step
from deploy.compose_test.report import Failed, note
from deploy.compose_test.stack import URL
from tests.faults import audit
from tests.faults.customers import Shoppers
from tests.support.write_side import connected, eventually

CUSTOMERS: Final = 6
NOBODY_THERE: Final = "The shop did not answer."
"""As deploy/nginx/problems.conf says it."""


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The shop as its operator knows it."""

    environment: Mapping[str, str] = field(repr=False)
    direct_url: str = field(repr=False)
    mail: Path
    certificate: Path


class Counting(httpx2.AsyncBaseTransport):
    """Counts what is sent; the customers themselves ask again.

    ``lost`` is what the shop did not answer: connections that broke, and nginx' word that nobody was there. ``put_off``
    is what the shop asked to be sent later, by its code.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self.begin()

    def begin(self) -> None:
        """Counts from nothing."""
        self.sent = 0
        self.lost: Counter[str] = Counter()
        self.put_off: Counter[str] = Counter()
        self.slowest = 0.0

    def __str__(self) -> str:
        put_off = ", ".join(f"{number} × {code}" for code, number in self.put_off.items()) or "none"
        lost = f"{self.lost.total()} lost{f' {dict(self.lost)}' if self.lost else ''}"
        return f"{self.sent} requests meanwhile: {lost}; put off: {put_off}; the slowest took {self.slowest:.1f} s"

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As the inner one does."""
        self.sent += 1
        begun = time.monotonic()
        try:
            answer = await self._inner.handle_async_request(request)
        except httpx2.TransportError as error:
            self.lost[type(error).__name__] += 1
            raise
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)
        if answer.status_code >= HTTPStatus.BAD_GATEWAY:
            problem = json.loads(await answer.aread())
            of_whom = self.lost if problem["detail"] == NOBODY_THERE else self.put_off
            of_whom[f"{answer.status_code} {problem['code']}"] += 1
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


class Crowd:
    """Customers who keep ordering, what they were answered, and the books at the end."""

    def __init__(self, shop: Deployed, shoppers: Shoppers, counting: Counting) -> None:
        self._shop = shop
        self._shoppers = shoppers
        self._counting = counting

    @asynccontextmanager
    async def shopping(self) -> AsyncIterator[Counting]:
        """They order until the end of the block; what was begun is finished."""
        self._counting.begin()
        task = asyncio.create_task(self._shoppers.shop())
        try:
            await asyncio.sleep(2)
            yield self._counting
            await asyncio.sleep(2)
        finally:
            self._shoppers.stop()
            await task

    def also(self, order: str) -> None:
        """An order of somebody else's that was placed, paid and shipped."""
        done = self._shoppers.acknowledged
        for orders in (done.placed, done.paid, done.shipped):
            orders.append(order)

    async def books_are_right(self) -> str:
        """Once everything is applied and sent. Raises :class:`Failed` with what is wrong."""
        done = self._shoppers.acknowledged
        async with connected(self._shop.direct_url) as connection:
            await eventually(lambda: audit.caught_up(connection), 120)
            wrong = await audit.books(connection, done, self._shop.mail)
            events = await connection.fetchval("SELECT max(position) FROM events")
        if wrong:
            raise Failed(f"the books: {wrong}")
        return (
            f"{len(done.placed)} orders placed, {len(done.paid)} paid, {len(done.shipped)} shipped; "
            f"{events} events, every one of them acknowledged once, read models and mails as the log says"
        )


@asynccontextmanager
async def crowd(shop: Deployed) -> AsyncIterator[Crowd]:
    """So many customers, signed in."""
    trust = ssl.create_default_context(cafile=shop.certificate)
    counting = Counting(httpx2.AsyncHTTPTransport(verify=trust))
    async with httpx2.AsyncClient(base_url=URL, timeout=15, transport=counting) as http:
        shoppers = Shoppers(shop, http, CUSTOMERS)
        await shoppers.enter()
        yield Crowd(shop, shoppers, counting)


async def one_customer(shop: Deployed) -> str:
    """Registers, follows the link in the mail, signs in, talks, orders, pays, and is told of each step as it happens.

    Answers the order's id.
    """
    os.environ["SSL_CERT_FILE"] = str(shop.certificate)  # for the client of HTTP and that of WebSockets
    told = shop.environment
    where = Shop(
        api_url=URL,
        mail_dir=shop.mail,
        admin_email=told["WEIR_ADMIN_EMAIL"],
        admin_password=told["WEIR_ADMIN_PASSWORD"],
        webhook_secret=told["WEIR_PAYMENT_WEBHOOK_SECRET"],
    )
    async with Clients(URL) as clients:
        tag = secrets.token_hex(4)
        customer, staff = Customer(where, clients, tag), Staff(where, clients, tag)
        _tell(await customer.register())
        async for step in customer.confirm_address():
            _tell(step)
        _tell(await staff.sign_in())
        product, token, step = await staff.add_product()
        _tell(step)
        _tell(await staff.show(product))
        _tell(await customer.find(f"kettle {tag}", product, token))
        async for step in talk(URL, customer.client, staff.client, f"About kettle {tag}"):
            _tell(step)
        order, step = await customer.place_order(product)
        _tell(step)
        async with followed(customer.client, order) as events:
            _tell(await events.moved(OrderStatus.PENDING))
            _tell(await customer.pay(order))
            _tell(await events.moved(OrderStatus.PAID))
            _tell(await staff.ship(customer, order))
            _tell(await events.moved(OrderStatus.SHIPPED))
        _tell(await customer.mailbox.came(f"Your order {order.order_no} is on its way"))
        return str(order.id)


def _tell(step: Step) -> None:
    took = step.told_ms if step.told_ms is not None else step.took_ms
    note(f"{step.title}{'' if took is None else f' ({took:.0f} ms)'}: {step.detail}")
