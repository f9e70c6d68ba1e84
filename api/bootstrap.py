"""The first admin, made when the API starts, so that a new installation can be entered."""

from api.ids import new_id
from domain.accounts import ACCOUNTS, RegisterAccount, Role, email_key
from domain.errors import AlreadyTaken
from infra import credentials
from infra.claims import holder
from infra.command_handler import CommandContext, CommandHandler
from infra.database import Database
from infra.passwords import Passwords
from infra.settings import Settings
from infra.work import Work


async def ensure_admin(settings: Settings, database: Database, handler: CommandHandler, passwords: Passwords) -> None:
    """Registers the account of ``WEIR_ADMIN_EMAIL``, unless the email has an account already.

    Of several processes that start at once, one makes it. An account that is there is left as it is: its password and
    roles may have been changed since.
    """
    email, password = settings.admin_email, settings.admin_password
    if email is None or password is None or await holder(database, "email", email_key(email)):
        return
    account_id = new_id()
    username = email.partition("@")[0]
    command = RegisterAccount(account_id=account_id, email=email, username=username, roles=(Role.ADMIN,))

    def decide(work: Work) -> None:
        work.execute(ACCOUNTS, account_id, command)

    await credentials.store(database, account_id, await passwords.hash_password(password.get_secret_value()))
    try:
        await handler.carry_out([(ACCOUNTS, account_id)], decide, CommandContext(principal="bootstrap"), new=1)
    except AlreadyTaken:
        await credentials.forget(database, account_id)
