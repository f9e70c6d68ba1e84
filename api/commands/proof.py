"""That who asks knows the account's password: proven before the append, and bound there to the password it was."""

from typing import Annotated, NamedTuple

from fastapi import Depends

from api.commands.dependencies import PasswordsDep
from api.commands.dispatcher import Commands
from api.dependencies import DatabaseDep
from api.http.principal import Principal
from domain.accounts import ACCOUNTS, WrongPassword
from domain.kernel.unit_of_work import UnitOfWork
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import credentials
from infra.identity.passwords import Passwords
from infra.postgres.pool import Database


class Proof(NamedTuple):
    """A password that was shown for the account: which of its passwords it is, None for none of them."""

    principal: Principal
    password_no: int | None
    pointer: str

    def wrong(self) -> WrongPassword:
        """As it is told to who showed it."""
        return WrongPassword("the password is wrong", pointer=self.pointer)

    def check(self, work: UnitOfWork) -> None:
        """Raises :class:`~domain.accounts.WrongPassword` unless it is the password that counts, as the log confirms.

        Whoever proves one that is changed before the append has proven nothing.
        """
        account = work.state(ACCOUNTS, self.principal.id)
        if self.password_no is None or account is None or account.password_no != self.password_no:
            raise self.wrong()


class Prover:
    """Proves passwords by the hashes that are kept of them."""

    def __init__(self, handler: CommandHandler, database: Database, passwords: Passwords) -> None:
        self._handler = handler
        self._database = database
        self._passwords = passwords

    async def prove(self, principal: Principal, password: str, pointer: str) -> Proof:
        """What the password proves. The log is asked before the hash is looked at.

        A hash that is behind is that of a password which was changed by somebody who died before its successor was
        written. It opens nothing but this: the one session that is left, which changed it, may do so again.
        """
        account, _ = await self._handler.now(ACCOUNTS, principal.id)
        known = await credentials.of_account(self._database, principal.id)
        right = await self._passwords.verify_password(known.password_hash, password)
        if account is None or not right:
            return Proof(principal, None, pointer)
        return Proof(principal, max(account.password_no, known.password_no), pointer)


async def prover(
    commands: Commands,
    database: DatabaseDep,
    passwords: PasswordsDep,
) -> Prover:
    """A dependency."""
    return Prover(commands.handler, database, passwords)


Proving = Annotated[Prover, Depends(prover)]
