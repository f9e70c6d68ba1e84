"""The first admin, made when the API starts, so that a new installation can be entered."""

from uuid import UUID

import structlog

from api.uuid7 import new_id
from domain.accounts import ACCOUNTS, RegisterAccount, Role, email_key
from domain.kernel.refusals import AlreadyTaken
from domain.kernel.unit_of_work import UnitOfWork
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.handler import CommandHandler
from infra.eventsourcing.store.unique_keys import holder
from infra.identity import credentials
from infra.identity.passwords import Passwords
from infra.postgres.pool import Database
from infra.settings import Settings

_log = structlog.get_logger("weir.bootstrap")


async def ensure_admin(settings: Settings, database: Database, handler: CommandHandler, passwords: Passwords) -> None:
    """Registers the account of ``WEIR_ADMIN_EMAIL``, unless the email has an account already.

    Of several processes that start at once, one makes it. An account that is there is left as it is: its password and
    roles may have been changed since, and who took the address before us shall not become an admin by it.
    """
    email, password = settings.admin_email, settings.admin_password
    if email is None or password is None or await holder(database, "email", email_key(email)):
        return
    account_id = new_id()
    await credentials.store(database, account_id, await passwords.hash_password(password.get_secret_value()))
    try:
        if not await _registered(handler, account_id, email, "admin"):
            await _registered(handler, account_id, email, f"admin-{account_id.hex[-8:]}")
    except credentials.NO_ACCOUNT:
        await credentials.forget(database, account_id)
        raise
    # Only once it is settled who holds the email: a registration whose answer was lost may be stored later than
    # one can look for it here, and its hash must stay.
    if await holder(database, "email", email_key(email)) != account_id:
        await credentials.forget(database, account_id)


async def _registered(handler: CommandHandler, account_id: UUID, email: str, username: str) -> bool:
    """Whether it is settled: registered by us, or by another process. False where only the username was taken."""
    command = RegisterAccount(account_id=account_id, email=email, username=username, roles=(Role.ADMIN,))

    def decide(work: UnitOfWork) -> None:
        work.execute(ACCOUNTS, account_id, command)

    try:
        await handler.run([(ACCOUNTS, account_id)], decide, CommandContext(principal="bootstrap"), new=1)
    except AlreadyTaken as refusal:
        return refusal.pointer != "/username"
    _log.info("first admin registered", account_id=str(account_id), username=username)
    return True
