"""Webhooks with deliveries, as the consumer of the log would have written them."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from infra.event_codec import CODEC
from infra.eventsourcing.event_log import identify
from infra.postgres.pool import Database
from infra.webhooks import outbox, subscribers
from infra.webhooks.outbox import Owed
from infra.webhooks.subscribers import Signer, Subscriber


async def has_delivery(database: Database, account_id: UUID, webhook_id: UUID | None = None) -> tuple[UUID, UUID]:
    """A webhook of the account, by its rows alone, that is owed an event; answers its id and that of the delivery."""
    webhook_id = webhook_id or uuid4()
    each = Subscriber(
        webhook_id=webhook_id,
        account_id=account_id,
        url="https://hooks.example/",
        event_types=("order.paid",),
        signers=(Signer(uuid4()),),
    )
    owed = Owed(
        webhook_id=webhook_id,
        position=1,
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        stream_id=uuid4(),
        type="order.paid",
        body="{}",
        correlation=None,
    )
    async with database.write() as connection:
        log = await identify(connection, CODEC)
        await subscribers.store(connection, {webhook_id: each})
        await outbox.write(connection, log.log_id, [owed])
    return webhook_id, outbox.delivery_id(log.log_id, owed)
