"""Making an account, and what an admin does with one."""

from typing import Annotated, Final
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from fastapi import Depends
from pydantic import Field

from api.commands.authority import acting, acting_as
from api.commands.dependencies import PasswordsDep, SessionsDep
from api.commands.dispatcher import CommandDispatcher, Commands, recall
from api.dependencies import DatabaseDep
from api.http.accept_language import Spoken
from api.http.fast_route import router
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Secret
from api.security import require
from api.uuid7 import new_id
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
    email_key,
    without_joiners,
)
from domain.kernel.refusals import InvalidValue
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import IdempotencyKeyReused
from infra.eventsourcing.commands.attempt import CommandOutcome
from infra.identity import account_erasure, credentials
from infra.identity.passwords import LONGEST, SHORTEST
from infra.schemas.text import trimmed

routes = router(tags=["accounts"])

ADMIN: Final = "accounts:admin"

Admin = Annotated[CommandDispatcher, Depends(acting(ADMIN))]
PerhapsMe = Annotated[CommandDispatcher, Depends(acting_as(require(ADMIN, ended=recall), ADMIN))]


class RegisterBody(Body):
    """A new account. The password is checked and hashed; it is never part of an event."""

    email: str = Field(max_length=LONGEST_EMAIL, json_schema_extra={"format": "email"})
    """Where mails go, and one of the two names to sign in with. No two accounts have the same."""
    username: Annotated[str, trimmed(LONGEST_USERNAME)]
    """The other name to sign in with, 1 to 64 letters, digits, `.`, `_` and `-`. No two accounts have the same."""
    password: Secret = Field(min_length=SHORTEST, max_length=LONGEST)
    """8 to 1,024 characters of any kind. Those that are tried first, and one's own names, are refused."""


class RolesBody(Body):
    """All the roles that the account is to have. One that is to have none is deactivated instead."""

    roles: list[Role] = Field(min_length=1, max_length=len(Role))
    """The roles, whatever they were before: `customer`, `staff`, `admin`."""


@routes.post("/v1/accounts", status_code=201)
@limited("register")
@refuses("already-taken", "invalid-value")
async def register_account(
    body: RegisterBody,
    commands: Commands,
    language: Spoken,
    database: DatabaseDep,
    passwords: PasswordsDep,
) -> Receipt:
    """Make an account. A taken email or username is ``already-taken`` with its pointer.

    A link is mailed by which the address can be verified. This and all later mails are in the language asked for here.
    Repeated under its `Idempotency-Key`, the answer comes again for the same password only.
    """
    _check_email(body.email)
    commands = await commands.of_a_stranger(email_key(body.email))
    account_id = new_id()
    command = RegisterAccount(account_id=account_id, email=body.email, username=body.username, language=language)

    def decide(work: UnitOfWork) -> None:
        work.execute(ACCOUNTS, account_id, command)

    hashed = await passwords.hash_password(body.password, own=(body.email, body.username))
    # The hash goes first: an account without one could never sign in, a hash without an account means nothing.
    await credentials.store(database, account_id, hashed)
    try:
        receipt = await commands.run([(ACCOUNTS, account_id)], decide, new=1, location=_location)
    except credentials.NO_ACCOUNT:
        await credentials.forget(database, account_id)
        raise
    if receipt.replayed:
        await credentials.forget(database, account_id)
        # Whoever sends an email and a guessed key is not thereby who registered it.
        known = await credentials.of_account(database, receipt.id)
        if not await passwords.verify_password(known.password_hash, body.password):
            raise IdempotencyKeyReused
    return receipt


@routes.post("/v1/accounts/{account_id}/deactivate")
@limited("write")
async def deactivate_account(account_id: UUID, commands: PerhapsMe, sessions: SessionsDep) -> Receipt:
    """Lock an account: all its sessions end, and nobody can sign in to it.

    Repeated under its key when the account is open again, it ends none that has begun since.
    """
    receipt = await commands.handle((ACCOUNTS, account_id), DeactivateAccount())
    await sessions.end_older(account_id, receipt.version)
    return receipt


@routes.post("/v1/accounts/{account_id}/activate")
@limited("write")
async def activate_account(account_id: UUID, commands: Admin) -> Receipt:
    """Unlock an account. Its owner has to sign in again."""
    return await commands.handle((ACCOUNTS, account_id), ActivateAccount())


@routes.put("/v1/accounts/{account_id}/roles")
@limited("write")
async def change_account_roles(account_id: UUID, body: RolesBody, commands: PerhapsMe) -> Receipt:
    """Give an account exactly these roles. Tokens with other scopes are refused within two seconds."""
    return await commands.handle((ACCOUNTS, account_id), ChangeRoles(roles=tuple(body.roles)))


@routes.delete("/v1/accounts/{account_id}")
@limited("write")
async def erase_account(account_id: UUID, commands: PerhapsMe, database: DatabaseDep) -> Receipt:
    """End an account for good; its email and username are free again."""
    receipt = await commands.handle((ACCOUNTS, account_id), EraseAccount())
    async with database.write() as connection:
        await account_erasure.forget(connection, [account_id])
    return receipt


def _location(outcome: CommandOutcome) -> str:
    return f"/v1/accounts/{outcome.id}"


def _check_email(email: str) -> None:
    """By the library, where our rules say nothing. To it joiners are unsafe; those of a domain IDNA has judged."""
    try:
        validate_email(without_joiners(email), check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidValue("must be an email address", pointer="/email") from None
