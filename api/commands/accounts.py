"""Making an account, and what an admin does with one."""

from contextlib import suppress
from typing import Annotated, Final
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from fastapi import Depends
from pydantic import Field

from api.answers import Receipt
from api.auth import require
from api.commands.sender import Commands
from api.context import Principal
from api.deps import opened
from api.endpoint import router
from api.ids import new_id
from api.languages import Spoken
from api.schemas import Body
from domain.accounts import (
    ACCOUNTS,
    LONGEST_EMAIL,
    LONGEST_USERNAME,
    ActivateAccount,
    ChangeRoles,
    DeactivateAccount,
    EraseAccount,
    RegisterAccount,
    Role,
)
from domain.errors import InvalidValue, Refusal
from infra import credentials, erasure
from infra.attempts import Outcome
from infra.database import Database
from infra.errors import AWAY, IdempotencyKeyInFlight, IdempotencyKeyReused, TooBusy, Unavailable
from infra.passwords import LONGEST, SHORTEST, Passwords
from infra.sessions import Sessions
from infra.work import Work

routes = router(tags=["accounts"])

NOT_STORED: Final = (Refusal, IdempotencyKeyReused, IdempotencyKeyInFlight, TooBusy, Unavailable)
"""What says that the registration is not in the log. Whatever else fails, it may be, and then its hash is needed."""

Admin = Annotated[Principal, Depends(require("accounts:admin"))]


class RegisterBody(Body):
    """A new account. The password is checked and hashed; it is never part of an event."""

    email: str = Field(max_length=LONGEST_EMAIL, json_schema_extra={"format": "email"})
    username: str = Field(min_length=1, max_length=LONGEST_USERNAME)
    password: str = Field(min_length=SHORTEST, max_length=LONGEST, json_schema_extra={"format": "password"})


class RolesBody(Body):
    """All the roles that the account is to have. One that is to have none is deactivated instead."""

    roles: list[Role] = Field(min_length=1, max_length=len(Role))


@routes.post("/v1/accounts", status_code=201)
async def register(
    body: RegisterBody,
    commands: Commands,
    language: Spoken,
    database: Annotated[Database, Depends(opened(Database))],
    passwords: Annotated[Passwords, Depends(opened(Passwords))],
) -> Receipt:
    """Make an account. A taken email or username is ``already-taken`` with its pointer.

    A link is mailed by which the address can be verified. This and all later mails are in the language asked for here.
    """
    _check_email(body.email)
    account_id = new_id()
    command = RegisterAccount(account_id=account_id, email=body.email, username=body.username, language=language)

    def decide(work: Work) -> None:
        work.execute(ACCOUNTS, account_id, command)

    hashed = await passwords.hash_password(body.password, own=(body.email, body.username))
    # The hash goes first: an account without one could never sign in, a hash without an account means nothing.
    await credentials.store(database, account_id, hashed)
    try:
        receipt = await commands.carry_out([(ACCOUNTS, account_id)], decide, new=1, location=_location)
    except NOT_STORED:
        await _forget(database, account_id)
        raise
    if receipt.id != account_id:
        await _forget(database, account_id)
    return receipt


@routes.post("/v1/accounts/{account_id}/deactivate")
async def deactivate(
    account_id: UUID, commands: Commands, _: Admin, sessions: Annotated[Sessions, Depends(opened(Sessions))]
) -> Receipt:
    """Lock an account: all its sessions end, and nobody can sign in to it."""
    receipt = await commands.handle((ACCOUNTS, account_id), DeactivateAccount())
    await sessions.end_all(account_id)
    return receipt


@routes.post("/v1/accounts/{account_id}/activate")
async def activate(account_id: UUID, commands: Commands, _: Admin) -> Receipt:
    """Unlock an account. Its owner has to sign in again."""
    return await commands.handle((ACCOUNTS, account_id), ActivateAccount())


@routes.put("/v1/accounts/{account_id}/roles")
async def change_roles(account_id: UUID, body: RolesBody, commands: Commands, _: Admin) -> Receipt:
    """Give an account exactly these roles. Tokens with other scopes are refused within two seconds."""
    return await commands.handle((ACCOUNTS, account_id), ChangeRoles(roles=tuple(body.roles)))


@routes.delete("/v1/accounts/{account_id}")
async def erase(
    account_id: UUID, commands: Commands, _: Admin, database: Annotated[Database, Depends(opened(Database))]
) -> Receipt:
    """End an account for good; its email and username are free again."""
    receipt = await commands.handle((ACCOUNTS, account_id), EraseAccount())
    async with database.write() as connection:
        await erasure.forget(connection, [account_id])
    return receipt


async def _forget(database: Database, account_id: UUID) -> None:
    """Takes back a hash that belongs to nobody. One that stays means nothing, and hides no other answer."""
    with suppress(*AWAY):
        await credentials.forget(database, account_id)


def _location(outcome: Outcome) -> str:
    return f"/v1/accounts/{outcome.id}"


def _check_email(email: str) -> None:
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidValue("must be an email address", pointer="/email") from None
