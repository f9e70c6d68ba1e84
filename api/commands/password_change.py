"""How a password gives way to another: the log first, then the rows that it makes void."""

from uuid import UUID

from api.commands.sender import Sender
from domain.accounts import ACCOUNTS, ChangePassword
from domain.errors import Refusal
from infra import credentials, links, sessions
from infra.database import Database
from infra.work import Work


async def change_password(
    commands: Sender,
    database: Database,
    account_id: UUID,
    command: ChangePassword,
    new_hash: str | Refusal,
    *,
    link_id: UUID | None = None,
) -> None:
    """Makes the password of ``new_hash`` the account's, and uses the link up that allowed it.

    From the event on the old password counts no more, whether or not we live to write the rows: they carry its number.
    A client that repeats the request then has them written. A refusal in the place of the hash is raised, unless the
    request was carried out before: then it is answered as it was, and the rows are as they should be.
    """

    def decide(work: Work) -> None:
        if isinstance(new_hash, Refusal):
            raise new_hash
        work.execute(ACCOUNTS, account_id, command)
        if (account := work.state(ACCOUNTS, account_id)) is not None:
            work.answer = {"password_no": account.password_no}

    receipt = await commands.carry_out([(ACCOUNTS, account_id)], decide)
    if isinstance(new_hash, Refusal):
        return
    async with database.write() as connection:
        if await credentials.replace(connection, account_id, new_hash, receipt.extra["password_no"]):
            await sessions.end_all(connection, account_id, keep=command.kept_session)
        if link_id is not None:
            await links.use(connection, link_id)
