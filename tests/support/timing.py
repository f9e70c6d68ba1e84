"""Orders whose time passes: placed and paid through the command handler, followed and rung one step at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from domain.inventory import INVENTORY, Stock
from domain.orders import ORDERS, CancelledBy, CancelOrder, OrderCommand, PayOrder, order_number
from domain.orders.payment_deadline import ORDER_TIME, Timer
from domain.workflows.checkout import change_order, stock_moves
from infra.event_codec import CODEC
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.event_log import EventLog, identify
from infra.eventsourcing.process_managers import timer_store
from infra.eventsourcing.process_managers.consumer import follow
from infra.eventsourcing.process_managers.timer_runner import TimerMetrics, TimerRunner
from infra.eventsourcing.process_managers.timer_store import TimerId
from infra.postgres.pool import Database
from infra.postgres.tables.consumers import timers
from tests.support.builders import ACCOUNT_ID, PRODUCT_ID, order_placed, place_order
from tests.support.mail_office import Office
from tests.support.stock import change_stock
from tests.support.write_side import WriteSide, connected, context, state_of
from workers.order_deadlines import PROCESSES, effects_of, issuer

CUSTOMER = ACCOUNT_ID
STOCK = 100


class Keeper(TimerRunner):
    """A keeper that can be told which timer to see to."""

    async def ring(self, timer: TimerId) -> bool:
        """Rings a timer if its moment has come; answers whether it did."""
        since = asyncio.get_running_loop().time()
        for claimed in await timer_store.claim(self._database, 1, only=_this(timer)):
            return await self.run(claimed, since)
        return False


def _this(timer: TimerId) -> sa.ColumnElement[bool]:
    return sa.and_(*[column == value for column, value in zip(timers.primary_key, timer, strict=True)])


@dataclass(kw_only=True)
class Scene:
    """A log with a stock of tea pots, and what follows its orders."""

    office: Office
    side: WriteSide
    log: EventLog

    def keeper(self, commands: CommandHandler | None = None, *, database: Database | None = None) -> Keeper:
        """One worker's keeper of timers."""
        metrics = TimerMetrics(CollectorRegistry())
        return Keeper(
            database or self.side.database,
            self.log,
            PROCESSES,
            effects=effects_of(self.log, "weir.example"),
            issue=issuer(commands or self.side.commands),
            metrics=metrics,
        )

    async def order(self, left: timedelta = timedelta(minutes=30)) -> UUID:
        """An order for two tea pots that has so much time left."""
        order_id = uuid4()
        command = place_order(
            order_id=order_id, order_no=order_number(order_id, 2026), expires_at=datetime.now(UTC) + left
        )

        def decide(work: Any) -> None:
            for event in work.execute(ORDERS, order_id, command):
                for move in stock_moves(event):
                    work.execute(INVENTORY, move.product_id, move)

        await self.side.commands.run(
            [(ORDERS, order_id), (INVENTORY, PRODUCT_ID)], decide, context(correlation="req-7"), new=1
        )
        return order_id

    async def command(self, order_id: UUID, command: OrderCommand) -> None:
        order = await self.side.commands.read_cached(ORDERS, order_id)
        assert order is not None
        await self.side.commands.run(*change_order(order_id, order, command), context())

    async def pay(self, order_id: UUID, payment_id: str = "pay-1") -> None:
        await self.command(order_id, PayOrder(payment_id=payment_id, amount=order_placed().total))

    async def cancel(self, order_id: UUID) -> None:
        await self.command(order_id, CancelOrder(by=CancelledBy.CUSTOMER))

    async def follow(self) -> None:
        """The consumer reads the whole log, once more."""
        async with self.side.database.write() as session:
            entries = [
                entry for entry in await self.log.read_all(session, 0, 10_000) if entry.type.startswith("order.")
            ]
            result = await follow(session, ORDER_TIME, effects_of(self.log, "weir.example"), entries, set())
        assert result.failures == []

    async def let_pass(self) -> None:
        """As if every moment had come and every claim had run out."""
        await self.side.database.execute("UPDATE timers SET wake_at = now() - interval '1 second', leased_until = NULL")

    async def timers(self, order_id: UUID) -> set[str]:
        """The kinds that run."""
        rows = await self.side.database.fetch("SELECT kind FROM timers WHERE stream_id = $1", order_id)
        return {row["kind"] for row in rows}

    async def told(self, order_id: UUID) -> list[str]:
        """What happened to the order."""
        rows = await self.side.database.fetch("SELECT type FROM events WHERE stream_id = $1 ORDER BY version", order_id)
        return [row["type"].removeprefix("order.") for row in rows]

    async def late(self, order_id: UUID) -> timedelta:
        """How long after its time the order, to which nothing else happened, was ended."""
        row = await self.side.database.fetchrow(
            "SELECT recorded_at - (SELECT (data ->> 'expires_at')::timestamptz FROM events WHERE stream_id = $1"
            " AND version = 1) AS late FROM events WHERE stream_id = $1 AND version = 2",
            order_id,
        )
        assert row is not None
        late: timedelta = row["late"]
        return late

    async def stock(self) -> Stock:
        state: Stock = await state_of(self.side.database, INVENTORY, PRODUCT_ID)
        return state

    async def mails(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.side.database.fetch("SELECT * FROM mail_ledger ORDER BY created_at")]

    async def owed(self) -> list[tuple[str, str, str]]:
        rows = await self.side.database.fetch(
            "SELECT payment_id, amount::text, was FROM refund_ledger WHERE returned_at IS NULL ORDER BY position"
        )
        return [tuple(row) for row in rows]


def expiry(order_id: UUID) -> TimerId:
    return TimerId(ORDER_TIME.name, order_id, Timer.EXPIRE.value)


def reminder(order_id: UUID) -> TimerId:
    return TimerId(ORDER_TIME.name, order_id, Timer.REMIND.value)


@asynccontextmanager
async def timing(office: Office, side: WriteSide) -> AsyncIterator[Scene]:
    """A scene with Ada known and tea pots in stock."""
    async with side.database.session() as session:
        log = await identify(session, CODEC)
    await office.acquaint()
    await change_stock(side, PRODUCT_ID, STOCK, new=1)
    yield Scene(office=office, side=side, log=log)


@asynccontextmanager
async def clock_ahead(url: str) -> AsyncIterator[None]:
    """For who connects within the block, Postgres has a clock that is 400 days ahead of everybody else's."""
    name = url.rpartition("/")[2]
    async with connected(url) as connection:
        await connection.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
            " $$ SELECT pg_catalog.clock_timestamp() + interval '400 days' $$"
        )
        await connection.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
        yield
        await connection.execute(f"ALTER DATABASE {name} RESET search_path")
        await connection.execute("DROP FUNCTION public.clock_timestamp()")
