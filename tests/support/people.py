"""People with accounts, for tests that hand out tokens themselves: what they do is checked against the log."""

from uuid import UUID

from domain.accounts import ACCOUNTS, Role
from infra.event_codec import CODEC
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.event_log import identify
from infra.eventsourcing.store import Appender
from infra.postgres.pool import Database
from tests.support.builders import register_account


async def has_account(database: Database, account_id: UUID, *roles: Role) -> None:
    """Registers the account with these roles, as another process would."""
    async with database.acquire() as connection:
        log = await identify(connection, CODEC)
    appender = Appender(database, timeout=5, largest_batch=1)
    handler = CommandHandler(database, appender, log=log)
    name = account_id.hex
    command = register_account(account_id=account_id, email=f"{name}@example.org", username=name, roles=roles)
    await handler.handle((ACCOUNTS, account_id), command, CommandContext(principal="tests"))
    await handler.close()
    await appender.close()
