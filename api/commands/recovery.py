"""Links in mails: how another one is asked for, and what they open: a verified address, a new password."""

from contextlib import suppress
from typing import Annotated, Final

from fastapi import Depends
from pydantic import Field
from starlette.responses import Response

from api.commands.authority import acting_as
from api.commands.dependencies import BackgroundDep
from api.commands.dispatcher import CommandDispatcher, Commands
from api.commands.mailed_links import MailedLinksDep
from api.dependencies import Context, Counted, DatabaseDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Done, Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Secret
from api.security import in_session
from domain.accounts import ACCOUNTS, LONGEST_EMAIL, RequestEmailVerification, email_key
from domain.kernel.refusals import InvalidValue
from infra.errors import TooBusy
from infra.identity import reset_wishes
from infra.identity.passwords import LONGEST, SHORTEST

routes = router(tags=["accounts"])

LONGEST_TOKEN: Final = 100

_ME = in_session()

Token = Annotated[Secret, Field(max_length=LONGEST_TOKEN, description="What the mailed link has behind `?token=`.")]


class VerifyBody(Body):
    """The token of the newest link that was mailed to verify the address."""

    token: Token


class ResetBody(Body):
    """Whose password is forgotten. What is no address is not refused: nobody learns what we make of it."""

    email: str = Field(max_length=LONGEST_EMAIL, json_schema_extra={"format": "email"})
    """The account's address, at most 254 characters."""


class ConfirmBody(Body):
    """The token of the link that was mailed, and the new password."""

    token: Token
    password: Secret = Field(min_length=SHORTEST, max_length=LONGEST)
    """8 to 1,024 characters of any kind. Those that are tried first, and one's own names, are refused."""


@routes.post("/v1/auth/verify-email")
@limited("token")
@refuses("invalid-link", "not-found")
async def verify_email(body: VerifyBody, links: MailedLinksDep) -> Receipt:
    """Prove that the account's address is its owner's. A link works once and for seven days."""
    return await links.verify_email(body.token)


@routes.post("/v1/me/verify-email", status_code=202, response_class=Response)
@limited("mail")
async def ask_for_email_verification(
    commands: Annotated[CommandDispatcher, Depends(acting_as(_ME))],
    counted: Counted,
    me: Annotated[Principal, Depends(_ME)],
) -> Done:
    """Have another link mailed by which one's address can be verified; the one before it works no more.

    Nothing is mailed to an address that is verified already. Counted by address, together with password resets.
    """
    account = await commands.handler.read_cached(ACCOUNTS, me.id)
    if counted is not None and account is not None:
        await counted.writes_to(account.email_key)
    receipt = await commands.handle((ACCOUNTS, me.id), RequestEmailVerification())
    return Done(replayed=receipt.replayed)


@routes.post("/v1/auth/password-reset", status_code=202, response_class=Response)
@limited("mail")
async def ask_for_password_reset(
    body: ResetBody,
    commands: Commands,
    _: Context,
    database: DatabaseDep,
    background: BackgroundDep,
) -> None:
    """Have a link mailed by which a new password can be chosen within the hour.

    The answer is the same, and comes as soon, whether or not there is such an account: it is looked for afterwards, for
    certain. Nor does it tell whether an `Idempotency-Key` was used before; repeated under one and from the same place,
    the address gets one mail a day.
    """
    with suppress(InvalidValue):  # nobody's address: there is nothing to look for
        key = email_key(body.email)
        context = await commands.speaking_for(None, keys="reset").conditions_from_here()
        wish = await reset_wishes.keep(database, key, context)
        with suppress(TooBusy):  # then a worker looks into it, when the lease is over
            background.start(reset_wishes.look_into(database, commands.handler, wish))


@routes.post("/v1/auth/password-reset/confirm", status_code=204)
@limited("token")
@refuses("invalid-link", "invalid-value", "not-found")
async def confirm_password_reset(body: ConfirmBody, links: MailedLinksDep) -> Done:
    """Choose a new password. All sessions end; the link is used up, and the address it was sent to is verified."""
    return await links.reset_password(body.token, body.password)
