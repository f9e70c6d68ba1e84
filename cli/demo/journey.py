"""The main job: three orders from the first visit to the last cent.

All of it goes through the public HTTP API, by the client that is generated from its OpenAPI document. What is told as
it happens is seen as it comes: a talk in a room, an order that moves, webhooks.
"""

import secrets
from collections.abc import AsyncIterator

from weir_client.models import OrderReceipt, OrderStatus

from cli.demo.calls import Clients
from cli.demo.customer import PIECES, Customer
from cli.demo.followed_order import followed
from cli.demo.staff import STOCK, Staff
from cli.demo.subscriber import EVENT_TYPES, subscribed
from cli.demo.talk import talk
from cli.demo.visit import Shop, Step


class Journey:
    """One customer and the staff. Unique names, so that it can be made again."""

    def __init__(self, shop: Shop, clients: Clients) -> None:
        self._api_url = shop.api_url
        self._tag = secrets.token_hex(4)
        self._customer = Customer(shop, clients, self._tag)
        self._staff = Staff(shop, clients, self._tag)

    async def steps(self) -> AsyncIterator[Step]:
        """The whole journey. Raises :class:`~cli.demo.visit.Failed` at the first thing that is not as promised."""
        customer, staff = self._customer, self._staff
        yield await customer.register()
        async for step in customer.confirm_address():
            yield step
        yield await staff.sign_in()
        figures = await staff.figures()
        product, token, step = await staff.add_product()
        yield step
        yield await staff.show(product)
        yield await staff.import_products()
        yield await customer.find(f"kettle {self._tag}", product, token)
        async for step in talk(self._api_url, customer.client, staff.client, f"About kettle {self._tag}"):
            yield step
        orders: list[OrderReceipt] = []
        for way in (self._all_the_way, self._paid_too_late, self._given_back):
            order, step = await customer.place_order(product)
            yield step
            async for step in way(order):
                yield step
            orders.append(order)
        yield await staff.counts(product, STOCK - PIECES, customer.token)
        yield await staff.compares(figures, orders[0], customer.token)
        for each in orders:
            async for step in staff.events(each):
                yield step

    async def _all_the_way(self, order: OrderReceipt) -> AsyncIterator[Step]:
        """The first order is paid, shipped and received."""
        customer, staff = self._customer, self._staff
        async with subscribed(staff.client) as (subscriber, step):
            yield step
            async with followed(customer.client, order) as told:
                yield await told.moved(OrderStatus.PENDING)
                yield await customer.pay(order)
                yield await told.moved(OrderStatus.PAID)
                yield await staff.ship(customer, order)
                yield await told.moved(OrderStatus.SHIPPED)
                yield await staff.complete(customer, order)
                yield await told.moved(OrderStatus.DONE)
            for kind in EVENT_TYPES:
                yield await subscriber.came(kind, order.id)
        for subject in (
            f"Your order {order.order_no}",
            f"We have your payment for order {order.order_no}",
            f"Your order {order.order_no} is on its way",
        ):
            yield await customer.mailbox.came(subject)
        async for step in customer.looks_back(order):
            yield step

    async def _paid_too_late(self, order: OrderReceipt) -> AsyncIterator[Step]:
        """The second is cancelled, and its money comes all the same."""
        customer, staff = self._customer, self._staff
        yield await customer.cancel(order)
        yield await customer.mailbox.came(f"Your order {order.order_no} is cancelled")
        yield await customer.pay_too_late(order)
        yield await customer.mailbox.came(f"Your payment for order {order.order_no} goes back to you")
        yield await staff.sees_money_back(order)

    async def _given_back(self, order: OrderReceipt) -> AsyncIterator[Step]:
        """The third is paid, and refunded before it left the house."""
        customer, staff = self._customer, self._staff
        yield await customer.pay(order)
        yield await staff.refund(customer, order)
        yield await staff.sees_money_back(order)
