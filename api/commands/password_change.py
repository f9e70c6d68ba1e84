"""Password change: the log first, then the rows that it makes void."""

from typing import NamedTuple
from uuid import UUID

from api.commands.dispatcher import CommandDispatcher
from api.commands.proof import Proof
from api.http.response import Done
from domain.accounts import ACCOUNTS, ChangePassword
from domain.kernel.refusals import Refusal
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import IdempotencyKeyReused
from infra.identity import credentials, one_time_links, sessions
from infra.identity.passwords import Passwords
from infra.identity.sessions import Void
from infra.postgres.pool import Database, Pooled


class NewPassword(NamedTuple):
    """A password that is to be the account's, and its hash, or what is against it."""

    text: str
    hashed: str | Refusal

    def __repr__(self) -> str:
        return "NewPassword()"


async def change_password(
    commands: CommandDispatcher,
    database: Database,
    passwords: Passwords,
    account_id: UUID,
    command: ChangePassword,
    new: NewPassword,
    *,
    proof: Proof | None = None,
    link_id: UUID | None = None,
) -> Done:
    """Makes the new password the account's, by the proof of the old one, or by a link, which it uses up.

    From the event on the old password counts no more, whether or not we live to write the rows: they carry its number.
    A client that repeats the request then has them written. What is against the password is raised, unless the request
    was carried out before: then it is answered as it was, and the rows are as they should be.
    """
    refused = new.hashed if isinstance(new.hashed, Refusal) else None

    def decide(work: UnitOfWork) -> None:
        if refused is not None:
            raise refused
        if proof is not None:
            proof.check(work)
        work.execute(ACCOUNTS, account_id, command)
        if (account := work.state(ACCOUNTS, account_id)) is not None:
            work.answer = {"password_no": account.password_no}

    receipt = await commands.run([(ACCOUNTS, account_id)], decide)
    number: int = receipt.extra["password_no"]
    if isinstance(new.hashed, str):
        void = Void(account_id=account_id, version=receipt.version, kept=command.kept_session)
        async with database.write() as connection:
            await _write_rows(connection, new.hashed, number, void, link_id)
    if receipt.replayed:
        await _check_same(database, passwords, account_id, new, number)
    return Done(replayed=receipt.replayed)


async def _write_rows(connection: Pooled, hashed: str, number: int, void: Void, link_id: UUID | None) -> None:
    if await credentials.replace(connection, void.account_id, hashed, number):
        await sessions.end_older(connection, [void])
    if link_id is not None:
        await one_time_links.use(connection, link_id)


async def _check_same(
    database: Database, passwords: Passwords, account_id: UUID, new: NewPassword, number: int
) -> None:
    """No idempotency key stands for a password: what tells two of them apart is the slow hash, and nothing else.

    Raises :class:`~infra.errors.IdempotencyKeyReused`, or what is against the password where it was not written.
    """
    known = await credentials.of_account(database, account_id)
    if known.password_no < number and isinstance(new.hashed, Refusal):
        raise new.hashed
    if known.password_no == number and not await passwords.verify_password(known.password_hash, new.text):
        raise IdempotencyKeyReused
