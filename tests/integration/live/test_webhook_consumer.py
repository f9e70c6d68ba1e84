"""From an event in the log to a subscriber: through the consumer, its rows and the sender of a whole worker."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from domain.accounts import ACCOUNTS, EraseAccount
from domain.webhooks import WEBHOOKS, DeactivateWebhook, RegisterWebhook
from infra.settings import Settings
from tests.integration.mail.test_reactions import append
from tests.support.builders import order_paid, order_placed, register_account
from tests.support.mail_office import tasks
from tests.support.subscriber import Subscriber, answers, subscriber
from tests.support.write_side import WriteSide, context, eventually, write_side

pytestmark = pytest.mark.anyio


@pytest.fixture
async def log(database_url: str) -> AsyncIterator[WriteSide]:
    async with write_side(database_url) as opened:
        yield opened


@pytest.fixture
async def there() -> AsyncIterator[Subscriber]:
    async with subscriber() as listening:
        yield listening


@pytest.fixture
def anywhere(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 1.0, "webhook_destinations": "any"})


async def subscribed(log: WriteSide, url: str) -> tuple[UUID, UUID]:
    """A webhook of somebody new, told of all that happens to orders here."""
    webhook_id, account_id = uuid4(), uuid4()
    name = account_id.hex
    account = register_account(account_id=account_id, email=f"{name}@example.org", username=name)
    await log.commands.handle((ACCOUNTS, account_id), account, context())
    command = RegisterWebhook(
        webhook_id=webhook_id,
        account_id=account_id,
        url=url,
        event_types=("order.placed", "order.paid"),
        secret_id=uuid4(),
        anywhere=True,
    )
    await log.commands.handle((WEBHOOKS, webhook_id), command, context())
    return webhook_id, account_id


async def test_what_happens_is_told_once_and_in_order(log: WriteSide, there: Subscriber, anywhere: Settings) -> None:
    await subscribed(log, there.url)
    order = uuid4()
    await append(log, order, 0, order_placed(), order_paid())

    async def told() -> bool:
        return len(there.came) == 2

    async with tasks(anywhere):
        await eventually(told, 20)
    await log.database.execute("UPDATE checkpoints SET position = 0 WHERE consumer = 'webhooks'")
    async with tasks(anywhere):
        await append(log, uuid4(), 0, order_placed())
        await eventually(lambda: _came(there, 3), 20)
    assert [came.told["type"] for came in there.came] == ["order.placed", "order.paid", "order.placed"]
    assert len({came.id for came in there.came}) == 3


async def _came(there: Subscriber, times: int) -> bool:
    return len(there.came) >= times


async def test_what_a_stopped_webhook_was_owed_is_dropped_and_with_its_owner_all_of_it_goes(
    log: WriteSide, there: Subscriber, anywhere: Settings
) -> None:
    there.always = answers(500)
    webhook, account = await subscribed(log, there.url)
    await append(log, uuid4(), 0, order_placed())

    async def states() -> list[str]:
        rows = await log.database.fetch("SELECT state FROM webhook_deliveries")
        return [row["state"] for row in rows]

    async def dropped() -> bool:
        return await states() == ["dropped"]

    async def forgotten() -> bool:
        return not await log.database.fetch("SELECT FROM webhook_subscribers")

    async with tasks(anywhere):
        await eventually(lambda: _came(there, 1), 20)
        await log.commands.handle((WEBHOOKS, webhook), DeactivateWebhook(), context())
        await eventually(dropped, 20)
        await log.commands.handle((ACCOUNTS, account), EraseAccount(), context())
        await eventually(forgotten, 20)
    assert await states() == []
