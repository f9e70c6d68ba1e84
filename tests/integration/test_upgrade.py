"""A database of an earlier release: what it holds goes on to count after its schema has been brought up to date."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import orjson
import pytest
from alembic import command
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from infra import mail_ledger, refund_ledger
from infra.database import Database
from infra.schema import FOLDER, migrate, newest
from infra.settings import Settings
from tests.conftest import SHARDS, Servers
from tests.write_side import connected
from workers.letters import compose

pytestmark = pytest.mark.anyio

BEFORE_REFUNDS_AND_LANGUAGES = "0007"
MAIL, ORDER = UUID(int=1), UUID(int=2)


@pytest.fixture
async def earlier(servers: Servers) -> AsyncIterator[str]:
    """A database as the release before refunds and languages left it, with nothing in it."""
    admin = await asyncpg.connect(servers.postgres.admin_url)
    url = f"{servers.postgres.url.rpartition('/')[0]}/earlier"
    try:
        await admin.execute("CREATE DATABASE earlier OWNER weir")
        await _upgraded(url, BEFORE_REFUNDS_AND_LANGUAGES)
        yield url
        await admin.execute("DROP DATABASE earlier WITH (FORCE)")
    finally:
        await admin.close()


async def _upgraded(url: str, revision: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


@asynccontextmanager
async def brought_up_to_date(url: str) -> AsyncIterator[Database]:
    assert await migrate(SecretStr(url), shards=SHARDS) == newest()
    database = Database(Settings.model_validate({"database_url": url}))
    yield database
    await database.close()


async def test_money_that_was_owed_is_due_and_what_was_paid_back_is_not(earlier: str) -> None:
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO refund_ledger (payment_id, order_id, position, amount, currency, was, returned_at)"
            " VALUES ('owed', $1, 1, 13.16, 'EUR', 'cancelled', NULL),"
            " ('paid back by hand', $1, 2, 13.16, 'EUR', 'refunded', now())",
            ORDER,
        )
    async with brought_up_to_date(earlier) as database:
        assert [each.payment_id for each in await refund_ledger.due(database, 10)] == ["owed"]


async def test_a_mail_that_was_due_is_sent_in_the_language_of_the_shop(earlier: str) -> None:
    context = {"order_no": "W-1", "username": "ada", "carrier": "DHL", "tracking_no": "JD0146"}
    async with connected(earlier) as connection:
        await connection.execute(
            "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id)"
            " VALUES ($1, 1, 'shipping_notice', 'ada@example.com', $2, '<1@weir.example>')",
            MAIL,
            orjson.dumps(context),
        )
    async with brought_up_to_date(earlier) as database:
        (mail,) = await mail_ledger.claim(database, [MAIL], lease_seconds=10)
    assert mail is not None
    assert b"\r\nContent-Language: de\r\n" in compose(mail, "Weir <shop@weir.example>", "de").message
