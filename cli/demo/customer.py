"""What a customer does in the shop, and the payment provider on the customer's behalf."""

import secrets
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from weir_client import AuthenticatedClient
from weir_client.api.accounts import read_me, register_account, verify_email
from weir_client.api.catalogue import list_products
from weir_client.api.orders import cancel_order, place_order, read_order, read_order_history, report_payment
from weir_client.models import (
    AccountCard,
    AddressBody,
    CancelBody,
    ItemBody,
    OrderBody,
    OrderHistoryEntryPage,
    OrderReceipt,
    OrderStatus,
    OrderSummary,
    PaymentBody,
    PaymentBodyStatus,
    ProductCardPage,
    Receipt,
    RegisterBody,
    VerifyBody,
)

from cli.demo.calls import Answer, Clients, fresh_key, step_of, told
from cli.demo.visit import Mailbox, Shop, Step, expect

PIECES: Final = 2
_ADDRESS: Final = AddressBody(name="A. Customer", line1="1 Harbour Road", city="Hamburg", country="DE")


class Customer:
    """One customer, with a name that nobody has, so that the journey can be made again."""

    def __init__(self, shop: Shop, clients: Clients, tag: str) -> None:
        self._shop = shop
        self._clients = clients
        self._name = f"customer-{tag}"
        self._email = f"{self._name}@example.com"
        self._password = secrets.token_urlsafe(12)
        self.client: AuthenticatedClient
        """From the confirmation of the address on."""
        self.mailbox = Mailbox(shop.mail_dir, self._email)
        self.token = ""
        """Of the last write: what is read with it is no older."""

    async def register(self) -> Step:
        """Makes the account."""
        body = RegisterBody(email=self._email, username=self._name, password=self._password)
        call = register_account.asyncio_detailed(client=self._clients.anyone, body=body, idempotency_key=fresh_key())
        return step_of(await told(Receipt, call), "account registered", self._email)

    async def confirm_address(self) -> AsyncIterator[Step]:
        """Follows the link in the first mail."""
        subject = "Please confirm your address"
        yield await self.mailbox.came(subject)
        body = VerifyBody(token=await self.mailbox.link_token(subject))
        call = verify_email.asyncio_detailed(client=self._clients.anyone, body=body, idempotency_key=fresh_key())
        verified = await told(Receipt, call)
        self.client = await self._clients.signed_in(self._name, self._password)
        mine = await told(AccountCard, read_me.asyncio_detailed(client=self.client, consistency_token=verified.token))
        expect(mine.document.email_verified, "the address is not verified")
        yield step_of(verified, "address verified", "by the link, which works once", mine.took_ms)

    async def find(self, words: str, product: UUID, token: str) -> Step:
        """Searches the catalogue, as it is with the write of this token in it."""
        call = list_products.asyncio_detailed(client=self.client, q=words, in_stock=True, consistency_token=token)
        found = await told(ProductCardPage, call)
        expect(
            product in [item.id for item in found.document.items], f"searching for {words!r} does not find {product}"
        )
        return Step(title="product found", detail=f"by searching for {words!r}", took_ms=found.took_ms)

    async def place_order(self, product: UUID) -> tuple[OrderReceipt, Step]:
        """Orders :data:`PIECES` of a product."""
        body = OrderBody(items=[ItemBody(product_id=product, quantity=PIECES)], shipping_address=_ADDRESS)
        call = place_order.asyncio_detailed(client=self.client, body=body, idempotency_key=fresh_key())
        placed = await told(OrderReceipt, call)
        order = placed.document
        readable = await self.sees(order, OrderStatus.PENDING, placed.token)
        detail = f"{order.order_no}, {PIECES} pieces, {order.total.amount} EUR"
        return order, step_of(placed, "order placed", detail, readable)

    async def pay(self, order: OrderReceipt) -> Step:
        """Has the provider tell the shop that the money came."""
        paid, payment_id = await self._money_came(order)
        return step_of(paid, "payment arrived", payment_id, await self.sees(order, OrderStatus.PAID, paid.token))

    async def pay_too_late(self, order: OrderReceipt) -> Step:
        """The same for an order that is cancelled: the money is not kept."""
        paid, payment_id = await self._money_came(order)
        readable = await self.sees(order, OrderStatus.CANCELLED, paid.token)
        return step_of(paid, "payment too late", payment_id, readable)

    async def _money_came(self, order: OrderReceipt) -> tuple[Answer[Receipt], str]:
        payment = PaymentBody(
            order_id=order.id,
            payment_id=f"pay_{order.id}",
            amount=order.total,
            status=PaymentBodyStatus.SUCCEEDED,
        )
        provider = await self._clients.provider(self._shop.webhook_secret)
        call = report_payment.asyncio_detailed(client=provider, body=payment)
        return await told(Receipt, call), payment.payment_id

    async def cancel(self, order: OrderReceipt) -> Step:
        """Thinks better of it."""
        body = CancelBody(reason="changed my mind")
        call = cancel_order.asyncio_detailed(order.id, client=self.client, body=body, idempotency_key=fresh_key())
        cancelled = await told(Receipt, call)
        readable = await self.sees(order, OrderStatus.CANCELLED, cancelled.token)
        return step_of(cancelled, "order cancelled", order.order_no, readable)

    async def sees(self, order: OrderReceipt, status: OrderStatus, token: str) -> float:
        """Reads an order back; the milliseconds that took."""
        self.token = token
        call = read_order.asyncio_detailed(order.id, client=self.client, consistency_token=token)
        seen = await told(OrderSummary, call)
        expect(seen.document.status is status, f"the order is {seen.document.status} and not {status}")
        return seen.took_ms

    async def looks_back(self, order: OrderReceipt) -> AsyncIterator[Step]:
        """What happened to an order, and what it was like when it was paid."""
        history = await told(OrderHistoryEntryPage, read_order_history.asyncio_detailed(order.id, client=self.client))
        happened = [happening.type_ for happening in history.document.items]
        expect(happened[-1] == "order.completed", f"the history ends with {happened[-1]}")
        detail = " → ".join(kind.partition(".")[2] for kind in happened)
        yield Step(title="history read", detail=detail, took_ms=history.took_ms)
        then = await told(OrderSummary, read_order.asyncio_detailed(order.id, client=self.client, as_of="2"))
        status = then.document.status
        expect(status is OrderStatus.PAID, f"as of version 2 the order was {status}")
        yield Step(title="order as of version 2", detail=f"it was {status}", took_ms=then.took_ms)
