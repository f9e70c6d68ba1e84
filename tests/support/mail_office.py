"""A sender with its ledger and its mail server, for tests that send mail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.configs import pool_of
from infra.event_codec import CODEC
from infra.eventsourcing.startup import open_log
from infra.identity.server_secret import ServerSecret
from infra.mail import outbox
from infra.mail.mailer import Mailer
from infra.mail.outbox import Mail, Settled
from infra.postgres.pool import Database
from infra.postgres.tables.outboxes import mail_ledger
from infra.settings import Settings
from tests.support.builders import ACCOUNT_ID
from tests.support.encryption import WRAPPING
from tests.support.smtp_stub import SmtpStub, smtp_stub
from workers.job_context import open_job_context
from workers.mail.sender import MailMetrics, MailSender
from workers.tasks import TASKS

LOG_ID = UUID("01890000-0000-7000-8000-00000000beef")
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
NOTICE = {"order_no": "W-1", "username": "ada", "carrier": "DHL", "tracking_no": "JD0146"}


class Desk(MailSender):
    """A sender that can be told which mail to see to."""

    async def deliver(self, mail_id: UUID) -> Settled | None:
        """One attempt at a mail, if it is due and nobody else's; answers how it ended."""
        since = asyncio.get_running_loop().time()
        for mail in await outbox.claim(self._database, 1, only=mail_ledger.c.mail_id == mail_id):
            return await self.run(mail, since)
        return None


@dataclass(kw_only=True)
class Office:
    """A sender with its ledger and its mail server."""

    database: Database
    settings: Settings
    stub: SmtpStub
    stack: AsyncExitStack

    def post(
        self, *, database: Database | None = None, registry: CollectorRegistry | None = None, **changed: Any
    ) -> Desk:
        """One worker's sender."""
        settings = self.settings.model_copy(update=changed)
        mailer = Mailer(settings.smtp_url, helo="weir.example")
        self.stack.push_async_callback(mailer.close)
        own, metrics = database or self.database, MailMetrics(registry or CollectorRegistry())
        post = Desk(own, mailer, settings, ServerSecret(own, WRAPPING), metrics)
        self.stack.push_async_callback(post.close)
        return post

    async def job_context(self, *, database: Database | None = None) -> dict[str, Any]:
        """What one worker's jobs work with."""
        log = await open_log(self.database, CODEC)
        own = database or self.database
        opened = await open_job_context(self.stack, self.settings, own, log, CollectorRegistry())
        return {**opened, "post": self.post(database=own)}

    async def write(self, position: int = 1, **changed: Any) -> UUID:
        """A mail that is due; answers its id."""
        mail: dict[str, Any] = {
            "position": position,
            "moment": MOMENT,
            "kind": "shipping_notice",
            "recipient": "ada@example.com",
            "language": None,
            "context": NOTICE,
            "correlation": "req-42",
        }
        async with self.database.session() as connection:
            (mail_id,) = await outbox.write(connection, LOG_ID, "weir.example", [Mail(**{**mail, **changed})])
        return mail_id

    async def acquaint(self, account_id: UUID = ACCOUNT_ID, language: str | None = None) -> None:
        """Ada's address is known already; her registration, and the mail that it makes due, are long past."""
        await self.database.execute(
            "INSERT INTO mail_recipients (account_id, email, username, language)"
            " VALUES ($1, 'Ada@Example.org', 'Ada', $2)",
            account_id,
            language,
        )

    async def row(self, mail_id: UUID) -> dict[str, Any]:
        found = await self.database.fetchrow("SELECT * FROM mail_ledger WHERE mail_id = $1", mail_id)
        assert found is not None
        return dict(found)

    async def let_time_pass(self) -> None:
        """As if every wait and every lease were over."""
        await self.database.execute("UPDATE mail_ledger SET due_at = now(), leased_until = NULL")


@asynccontextmanager
async def mail_office(settings: Settings, *, pipelining: bool = True) -> AsyncIterator[Office]:
    """An office whose settings lead to its mail server."""
    async with AsyncExitStack() as stack, smtp_stub(pipelining=pipelining) as stub:
        database = Database(pool_of(settings))
        stack.push_async_callback(database.close)
        settings = settings.model_copy(update={"smtp_url": SecretStr(stub.url)})
        yield Office(database=database, settings=settings, stub=stub, stack=stack)


@asynccontextmanager
async def tasks(settings: Settings) -> AsyncIterator[None]:
    """A tasks worker; it has drained when the block ends."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(TASKS.run(settings, CollectorRegistry(), stop))
        yield
        stop.set()
