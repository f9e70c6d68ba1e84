"""Signing in: a name and a password for an access token, and the public keys that verify it."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import Depends, Form
from pydantic import BaseModel, ConfigDict, Field

from api.answers import Answer, json_answer
from api.deps import opened
from api.endpoint import router
from api.errors import Problem
from api.ids import new_id
from api.scopes import scopes_of
from domain.accounts import ACCOUNTS, Account, email_key, username_key
from domain.errors import InvalidValue
from infra import credentials
from infra.database import Database
from infra.event_store import load_streams
from infra.keys import Keys
from infra.passwords import Passwords
from infra.tokens import Tokens

routes = router(tags=["accounts"])

_PRIVATE: Final = [(b"cache-control", b"no-store")]
_PUBLIC: Final = [(b"cache-control", b"public, max-age=300")]


class TokenForm(BaseModel):
    """RFC 6749 section 4.3. Parameters that it does not know are ignored, as section 3.2 demands."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    grant_type: Literal["password"]
    username: str = Field(description="email or username")
    password: str = Field(json_schema_extra={"format": "password"})
    scope: str | None = Field(None, max_length=1000, description="fewer scopes than the account's roles give")


class TokenDocument(BaseModel):
    """An access token and what it is good for. ``expires_in`` is in seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    scope: str


class KeySet(BaseModel):
    """RFC 7517."""

    keys: list[dict[str, str]]


@routes.post("/v1/auth/token", response_model=TokenDocument)
async def sign_in(
    form: Annotated[TokenForm, Form()],
    database: Annotated[Database, Depends(opened(Database))],
    passwords: Annotated[Passwords, Depends(opened(Passwords))],
    tokens: Annotated[Tokens, Depends(opened(Tokens))],
) -> Answer:
    """Hand out an access token. An unknown name, a wrong password and a deactivated account look and cost the same."""
    account, version = await _proven(database, passwords, form)
    granted = _granted(account, form.scope)
    issued = await tokens.issue(account.account_id, granted, session_id=new_id(), version=version)
    document = {
        "access_token": issued.token,
        "token_type": "bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
    }
    return json_answer(document, headers=_PRIVATE)


@routes.get("/.well-known/jwks.json", response_model=KeySet)
async def signing_keys(keys: Annotated[Keys, Depends(opened(Keys))]) -> Answer:
    """The public keys that verify access tokens."""
    ring = await keys.ring()
    return Answer(200, [(b"content-type", b"application/json"), *_PUBLIC], ring.jwks)


async def _proven(database: Database, passwords: Passwords, form: TokenForm) -> tuple[Account, int]:
    """The account that name and password belong to, and its version.

    What is asked of Postgres and of argon2 tells nobody who exists.
    """
    key = _key(form.username)
    found = await credentials.find(database, *key) if key else None
    right = await passwords.verify_password(found.password_hash if found else None, form.password)
    account, version = await account_of(database, found.account_id) if found and right else (None, 0)
    if account is None or not account.active:
        raise Problem("invalid-credentials")
    return account, version


def _key(name: str) -> tuple[str, str] | None:
    """The unique key that a name stands for: with an ``@`` an email, for no username has one."""
    try:
        return ("email", email_key(name)) if "@" in name else ("username", username_key(name))
    except InvalidValue:
        return None


def _granted(account: Account, wanted: str | None) -> frozenset[str]:
    """All scopes of the account's roles, or those of them that were asked for."""
    scopes = scopes_of(account.roles)
    if wanted is None:
        return scopes
    if not (granted := scopes & frozenset(wanted.split())):
        raise Problem("insufficient-scope", "The account has none of the scopes asked for.")
    return granted


async def account_of(database: Database, account_id: UUID) -> tuple[Account | None, int]:
    """The account as its events leave it, and its version: from the log, as a sign-in trusts no read model."""
    account, version = ACCOUNTS.initial, 0
    for past in (await load_streams(database, [account_id]))[account_id]:
        event: Any = past.event
        account, version = ACCOUNTS.evolve(account, event), past.version
    return account, version
