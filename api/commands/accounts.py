"""Making an account."""

from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from fastapi import Depends
from pydantic import Field

from api.answers import Receipt
from api.commands.sender import Commands
from api.deps import opened
from api.endpoint import router
from api.ids import new_id
from api.schemas import Body
from domain.accounts import ACCOUNTS, LONGEST_EMAIL, LONGEST_USERNAME, RegisterAccount
from domain.errors import InvalidValue
from infra import credentials
from infra.command_handler import Outcome
from infra.database import Database
from infra.errors import OutcomeUnknown
from infra.passwords import LONGEST, SHORTEST, Passwords
from infra.work import Work

routes = router(tags=["accounts"])


class RegisterBody(Body):
    """A new account. The password is checked and hashed; it is never part of an event."""

    email: str = Field(max_length=LONGEST_EMAIL, json_schema_extra={"format": "email"})
    username: str = Field(min_length=1, max_length=LONGEST_USERNAME)
    password: str = Field(min_length=SHORTEST, max_length=LONGEST, json_schema_extra={"format": "password"})


@routes.post("/v1/accounts", status_code=201)
async def register(
    body: RegisterBody,
    commands: Commands,
    database: Annotated[Database, Depends(opened(Database))],
    passwords: Annotated[Passwords, Depends(opened(Passwords))],
) -> Receipt:
    """Make an account. A taken email or username is ``already-taken`` with its pointer."""
    _check_email(body.email)
    account_id = new_id()
    command = RegisterAccount(account_id=account_id, email=body.email, username=body.username)

    def decide(work: Work) -> None:
        work.execute(ACCOUNTS, account_id, command)

    # The hash goes first: an account without one could never sign in, a hash without an account means nothing.
    await credentials.store(database, account_id, await passwords.hash_password(body.password))
    try:
        receipt = await commands.carry_out([(ACCOUNTS, account_id)], decide, new=1, location=_location)
    except OutcomeUnknown:
        raise
    except Exception:
        await credentials.forget(database, account_id)
        raise
    if receipt.id != account_id:
        await credentials.forget(database, account_id)
    return receipt


def _location(outcome: Outcome) -> str:
    return f"/v1/accounts/{outcome.id}"


def _check_email(email: str) -> None:
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise InvalidValue("must be an email address", pointer="/email") from None
