"""What the links in mails do, by one rule for whoever comes with their token: the API's routes, and the pages."""

from typing import Annotated

from fastapi import Depends, Request

from api.commands.dependencies import LinksDep, PasswordsDep
from api.commands.dispatcher import CommandDispatcher, Commands
from api.commands.password_change import NewPassword, change_password
from api.dependencies import DatabaseDep
from api.http.request_context import stands_for
from api.http.response import Done, Receipt
from domain.accounts import ACCOUNTS, ChangePassword, InvalidLink, PasswordChangedBy, VerifyEmail
from domain.kernel.refusals import Refusal
from domain.kernel.unit_of_work import UnitOfWork
from infra.identity import one_time_links
from infra.identity.one_time_links import Found, Links, Purpose
from infra.identity.passwords import Passwords
from infra.postgres.pool import Database


class MailedLinks:
    """Carries out what a link was mailed for, in one request. Each raises :class:`~domain.accounts.InvalidLink`."""

    def __init__(
        self, request: Request, commands: CommandDispatcher, database: Database, passwords: Passwords, mailed: Links
    ) -> None:
        self._request = request
        self._commands = commands
        self._database = database
        self._passwords = passwords
        self._mailed = mailed

    async def check(self, purpose: Purpose, token: str) -> None:
        """Whether the link can be used. It is not used up by that."""
        link = await self._mailed.find(purpose, token)
        if link is None or not link.live:
            raise _invalid_link()

    async def verify_email(self, token: str) -> Receipt:
        """Proves that the account's address is its owner's."""
        link = await self._found(Purpose.VERIFY_EMAIL, token)

        def decide(work: UnitOfWork) -> None:
            if not link.live:
                raise _invalid_link()
            work.execute(ACCOUNTS, link.account_id, VerifyEmail())

        receipt = await self._bearer(link).run([(ACCOUNTS, link.account_id)], decide)
        async with self._database.write() as connection:
            await one_time_links.use(connection, link.link_id)
        return receipt

    async def reset_password(self, token: str, password: str) -> Done:
        """Makes the new password the account's, and ends its sessions. Raises what is against the password, too."""
        link = await self._found(Purpose.RESET_PASSWORD, token)
        account = await self._commands.handler.read_cached(ACCOUNTS, link.account_id)
        new_hash: str | Refusal = _invalid_link()
        if link.live and account is not None:
            new_hash = await self._passwords.hash_password(password, own=(account.email, account.username))
        return await change_password(
            self._bearer(link),
            self._database,
            self._passwords,
            link.account_id,
            ChangePassword(by=PasswordChangedBy.RESET),
            NewPassword(password, new_hash),
            link_id=link.link_id,
        )

    async def _found(self, purpose: Purpose, token: str) -> Found:
        """The link, used or not: whoever repeats a request by its key gets the answer that it had.

        An idempotency key stands for the link and not for the token that opens it.
        """
        link = await self._mailed.find(purpose, token)
        if link is None:
            raise _invalid_link()
        stands_for(self._request.scope, link.link_id.bytes)
        return link

    def _bearer(self, link: Found) -> CommandDispatcher:
        return self._commands.speaking_for(str(link.account_id), keys=f"link:{link.account_id}")


async def mailed_links(
    request: Request, commands: Commands, database: DatabaseDep, passwords: PasswordsDep, mailed: LinksDep
) -> MailedLinks:
    """A dependency."""
    return MailedLinks(request, commands, database, passwords, mailed)


MailedLinksDep = Annotated[MailedLinks, Depends(mailed_links)]


def _invalid_link() -> InvalidLink:
    return InvalidLink("the link has been used or has run out", pointer="/token")
