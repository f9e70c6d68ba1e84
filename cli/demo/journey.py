"""The main job, driven through the public HTTP API alone: three orders from the first visit to the last cent."""

import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from cli.demo.customer import PIECES, Customer
from cli.demo.staff import STOCK, Staff
from cli.demo.visit import Shop, Step


class Journey:
    """One customer and the staff. Unique names, so that it can be made again."""

    def __init__(self, shop: Shop, http: httpx2.AsyncClient) -> None:
        self._tag = secrets.token_hex(4)
        self._customer = Customer(shop, http, self._tag)
        self._staff = Staff(shop, http, self._tag)

    async def steps(self) -> AsyncIterator[Step]:
        """The whole journey. Raises :class:`~cli.demo.visit.Failed` at the first thing that is not as promised."""
        customer, staff = self._customer, self._staff
        yield await customer.register()
        async for step in customer.confirm_address():
            yield step
        yield await staff.sign_in()
        before, figures = await staff.head(), await staff.figures()
        product, token, step = await staff.add_product()
        yield step
        yield await customer.find(f"kettle {self._tag}", product, token)
        sold, step = await customer.place_order(product)
        yield step
        async for step in self._sold(sold):
            yield step
        async for step in self._thought_better_of(product):
            yield step
        yield await staff.counts(product, STOCK - PIECES, customer.token)
        yield await staff.compares(figures, sold, customer.token)
        async for step in staff.events(before):
            yield step

    async def _sold(self, order: Mapping[str, Any]) -> AsyncIterator[Step]:
        """The first order goes all the way."""
        customer, staff = self._customer, self._staff
        yield await customer.pay(order)
        yield await staff.ship(customer, order)
        yield await staff.complete(customer, order)
        for subject in (
            f"Your order {order['order_no']}",
            f"We have your payment for order {order['order_no']}",
            f"Your order {order['order_no']} is on its way",
        ):
            yield await customer.mailbox.came(subject)
        async for step in customer.looks_back(order):
            yield step

    async def _thought_better_of(self, product: str) -> AsyncIterator[Step]:
        """The second is cancelled, the third paid and refunded: the pieces are on sale again."""
        customer, staff = self._customer, self._staff
        cancelled, step = await customer.place_order(product)
        yield step
        yield await customer.cancel(cancelled)
        yield await customer.mailbox.came(f"Your order {cancelled['order_no']} is cancelled")
        refunded, step = await customer.place_order(product)
        yield step
        yield await customer.pay(refunded)
        yield await staff.refund(customer, refunded)
