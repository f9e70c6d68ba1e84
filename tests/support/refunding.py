"""Money that goes back: orders that are refunded, the ledger, workers that see to it, and the provider's stand-in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from domain.orders import RefundOrder
from infra.concurrency.circuit_breaker import Breaker, Limits
from infra.eventsourcing.commands.handler import CommandHandler
from infra.payments.http_provider import HttpPaymentProvider
from infra.payments.provider import PaymentProvider
from infra.postgres.pool import Database
from infra.postgres.tables.outboxes import refund_ledger
from infra.settings import Settings
from tests.support.mail_office import mail_office
from tests.support.payment_desk import KEY, StandIn, stand_in
from tests.support.timing import Scene, timing
from tests.support.write_side import WriteSide
from workers.refunds import RefundMetrics, Refunds

PATIENT = Limits(failures=1_000_000)
"""Of a breaker that never opens: for tests that speak of something else."""


class Teller(Refunds):
    """A keeper of refunds that can be told which one to see to."""

    async def see_to(self, payment_id: str) -> None:
        """Does what can be done about a refund now, if it is due and nobody else's."""
        since = asyncio.get_running_loop().time()
        for piece in await self.claim(1, only=refund_ledger.c.payment_id == payment_id):
            await self.run(piece, since)


@dataclass(kw_only=True)
class Till:
    """Orders, the ledger of what is owed for them, and the provider that gives it back."""

    scene: Scene
    desk: StandIn
    stack: AsyncExitStack
    settings: Settings

    @property
    def database(self) -> Database:
        return self.scene.side.database

    def provider(self, url: str | None = None) -> HttpPaymentProvider:
        provider = HttpPaymentProvider(url or self.desk.url, KEY)
        self.stack.push_async_callback(provider.close)
        return provider

    def worker(
        self,
        provider: PaymentProvider | None = None,
        *,
        commands: CommandHandler | None = None,
        database: Database | None = None,
        breaker: Breaker | None = None,
        registry: CollectorRegistry | None = None,
        call_seconds: float = 5.0,
    ) -> Teller:
        """One worker's keeper of refunds."""
        return Teller(
            database or self.database,
            commands or self.scene.side.commands,
            provider or self.provider(),
            breaker=breaker or Breaker(PATIENT),
            metrics=RefundMetrics(registry or CollectorRegistry()),
            call_seconds=call_seconds,
        )

    async def owe(self, *payment_ids: str) -> UUID:
        """Money that is owed: of an order each that was paid and refunded. Answers the last order."""
        for payment_id in payment_ids:
            order_id = await self.scene.order(timedelta(hours=1))
            await self.scene.pay(order_id, payment_id)
            await self.scene.command(order_id, RefundOrder())
        await self.scene.follow()
        return order_id

    async def row(self, payment_id: str = "pay-1") -> dict[str, Any]:
        found = await self.database.fetchrow("SELECT * FROM refund_ledger WHERE payment_id = $1", payment_id)
        assert found is not None
        return dict(found)

    async def state(self, payment_id: str = "pay-1") -> str:
        """How far the money has come."""
        row = await self.row(payment_id)
        if row["recorded_at"]:
            return "recorded"
        return "returned" if row["returned_at"] else "refused" if row["refused_at"] else "owed"

    async def wait(self, payment_id: str = "pay-1") -> float:
        """Seconds until it is due."""
        row = await self.database.fetchrow(
            "SELECT extract(epoch FROM due_at - clock_timestamp())::float AS left FROM refund_ledger"
            " WHERE payment_id = $1",
            payment_id,
        )
        assert row is not None
        return float(row["left"])

    async def let_pass(self) -> None:
        """As if every wait and every lease were over."""
        await self.database.execute("UPDATE refund_ledger SET due_at = now(), leased_until = NULL")

    async def told(self, order_id: UUID) -> list[str]:
        return await self.scene.told(order_id)


@asynccontextmanager
async def refunding(settings: Settings, side: WriteSide, directory: Path) -> AsyncIterator[Till]:
    async with (
        mail_office(settings) as office,
        timing(office, side) as scene,
        stand_in(directory / "provider") as desk,
        AsyncExitStack() as stack,
    ):
        told = {"payment_provider_url": desk.url, "payment_provider_key": KEY, "lease_seconds": 1.0}
        yield Till(scene=scene, desk=desk, stack=stack, settings=office.settings.model_copy(update=told))
