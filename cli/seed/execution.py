"""The plan carried out by the ordinary commands, each under a key and on an id that follow from the plan.

So what is carried out again, after a kill or on another day, is the same command on the same thing. The key lets the
log answer as it did the first time; when it is forgotten, the id and the order's own state still tell what is done.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from cli.seed.plan import SIZES, Block, Customer, Fate, PlannedOrder
from domain.accounts import ACCOUNTS, ChangeProfile, RegisterAccount, VerifyEmail
from domain.kernel.refusals import AlreadyExists, Refusal
from domain.kernel.unit_of_work import UnitOfWork, Workflow
from domain.money import Money
from domain.orders import (
    ORDERS,
    CancelledBy,
    CancelOrder,
    CompleteOrder,
    FailPayment,
    Order,
    OrderCommand,
    OrderStatus,
    PayOrder,
    RefundOrder,
    ShipOrder,
)
from domain.workflows import checkout
from domain.workflows.checkout import NewOrder
from domain.workflows.product_launch import NEW_STREAMS
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import credentials
from infra.postgres.clock import PostgresClock
from infra.postgres.pool import Database
from infra.schemas.product import NewProduct, launch_of

PASSWORD: Final = "to play with the shop"  # noqa: S105 - everybody's
AT_ONCE: Final = 16

_FINGERPRINT: Final = bytes(32)
"""A plan that never changes has no other request under its key to be told apart from."""
_BEFORE: Final = {OrderStatus.PAID: 1, OrderStatus.SHIPPED: 2, OrderStatus.DONE: 3}
"""How many steps of a delivery are behind an order."""

Work = Callable[[], Awaitable[None]]
Show = Callable[[], None]
"""Told of each thing that is there."""


class Tally:
    """What was made, and what was there already."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.there: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.statuses: Counter[OrderStatus] = Counter()

    def count(self, kind: str, *, made: bool) -> None:
        """One more of a kind."""
        (self.made if made else self.there)[kind] += 1

    def lines(self) -> Iterator[str]:
        """It in words."""
        for kind in SIZES:
            before = f", {self.there[kind]} were there already" if self.there[kind] else ""
            yield f"{kind}: {self.made[kind]} made{before}"
        yield "orders now: " + ", ".join(f"{self.statuses[status]} {status}" for status in OrderStatus)
        for code, count in self.refused.items():
            yield f"refused by the shop as it is now: {count} × {code}"


class Seeder:
    """Carries blocks out. Raises what the command handler raises: then the same once more goes on from there."""

    def __init__(
        self, handler: CommandHandler, database: Database, hashed: str, *, seed: int, payment_minutes: int
    ) -> None:
        self._handler = handler
        self._database = database
        self._hashed = hashed
        self._seed = seed
        self._payment = timedelta(minutes=payment_minutes)
        self._clock = PostgresClock(database)
        self._free = asyncio.Semaphore(AT_ONCE)
        self.tally = Tally()

    async def run(self, block: Block, show: Show) -> None:
        """First what orders rest on, then the orders."""
        products = [partial(self._add, *each) for each in block.products.items()]
        await self._together([*products, *(partial(self._register, each) for each in block.customers)], show)
        await self._together([partial(self._see_through, each) for each in block.orders], show)

    async def _together(self, work: Sequence[Work], show: Show) -> None:
        async def one(each: Work) -> None:
            async with self._free:
                try:
                    await each()
                except Refusal as refusal:  # somebody has done something with the shop, as one should
                    self.tally.refused[refusal.code] += 1
            show()

        try:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(one(each))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _add(self, product_id: UUID, product: NewProduct) -> None:
        made = await self._begun(launch_of(product_id, product), self._context("staff", product_id), NEW_STREAMS)
        self.tally.count("products", made=made)

    async def _register(self, customer: Customer) -> None:
        account_id = customer.account_id
        command = RegisterAccount(
            account_id=account_id, email=customer.email, username=customer.username, language=customer.language
        )

        def decide(work: UnitOfWork) -> None:
            work.execute(ACCOUNTS, account_id, command)

        # The hash goes first: an account without one could never sign in, a hash without an account means nothing.
        await credentials.store(self._database, account_id, self._hashed)
        made = await self._begun(([(ACCOUNTS, account_id)], decide), self._context(account_id, account_id), 1)
        profile = ChangeProfile(full_name=customer.name, bio=None)
        for name, each in (("profile", profile), ("verify", VerifyEmail() if customer.verified else None)):
            if each is not None:
                await self._handler.handle((ACCOUNTS, account_id), each, self._context(account_id, account_id, name))
        self.tally.count("customers", made=made)

    async def _see_through(self, planned: PlannedOrder) -> None:
        order, _ = await self._handler.now(ORDERS, planned.order_id)
        made = order is None
        if order is None:
            await self._place(planned)
            order, _ = await self._handler.now(ORDERS, planned.order_id)
        assert order is not None  # noqa: S101 - placed now or before
        for command in steps(planned, order):
            context = self._context(planned.customer_id, planned.order_id, type(command).__name__)
            workflow = checkout.change_order(planned.order_id, order, command)
            await self._handler.run(*workflow, context)
        self.tally.count("orders", made=made)
        if (order := await self._handler.read_cached(ORDERS, planned.order_id)) is not None:
            self.tally.statuses[order.status] += 1

    async def _place(self, planned: PlannedOrder) -> None:
        now = await self._clock.now()
        new = NewOrder(
            order_id=planned.order_id,
            customer_id=planned.customer_id,
            items=planned.items,
            placed_at=now,
            expires_at=now + self._payment,
            shipping_address=planned.address,
        )

        def decide(work: UnitOfWork) -> None:
            checkout.place_order(work, new)

        await self._begun((new.streams, decide), self._context(planned.customer_id, planned.order_id), 1)

    async def _begun(self, workflow: Workflow, context: CommandContext, new: int) -> bool:
        """Whether it was begun now, and not before."""
        try:
            return not (await self._handler.run(*workflow, context, new=new)).replayed
        except AlreadyExists:
            return False

    def _context(self, actor: UUID | str, entity_id: UUID, step: str = "begin") -> CommandContext:
        principal = f"seed:{self._seed}"
        return CommandContext(
            principal=principal,
            actor=str(actor),
            correlation=principal.replace(":", "-"),
            idempotency_key=f"{entity_id}:{step}",
            fingerprint=_FINGERPRINT,
        )


def steps(planned: PlannedOrder, order: Order) -> Sequence[OrderCommand]:
    """What is still to be done for an order, as it stands, until its fate is fulfilled.

    One that has ended otherwise meanwhile, because its time was over or by somebody's hand, is left alone.
    """
    delivery = _delivery(planned, order.total)
    cancel = CancelOrder(by=CancelledBy.CUSTOMER, reason=planned.reason)
    refund = RefundOrder(reason=planned.reason)
    whole: dict[Fate, Sequence[OrderCommand]] = {
        "pending": [],
        "paid": delivery[:1],
        "shipped": delivery[:2],
        "done": delivery,
        "cancelled": [cancel],
        "refunded": [*delivery[:1], refund],
        "returned": [*delivery, refund],
        "paid too late": [cancel, *delivery[:1]],
    }
    commands = whole[planned.fate]
    if order.status is OrderStatus.PENDING:
        declined = [FailPayment(payment_id=f"{_payment_id(planned)}-declined")] if planned.declined else []
        return [*declined, *commands]
    if order.status is OrderStatus.CANCELLED:
        return commands[1:] if planned.fate == "paid too late" else []
    return commands[_BEFORE.get(order.status, len(commands)) :]


def _delivery(planned: PlannedOrder, total: Money) -> Sequence[OrderCommand]:
    return [
        PayOrder(payment_id=_payment_id(planned), amount=total),
        ShipOrder(carrier=planned.carrier, tracking_no=planned.tracking_no),
        CompleteOrder(),
    ]


def _payment_id(planned: PlannedOrder) -> str:
    return f"pay_{planned.order_id}"
