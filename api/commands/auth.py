"""Signing in and staying so: a password for a pair of tokens, a refresh token for the next pair, and leaving again."""

from contextlib import suppress
from typing import Annotated, Final, Literal, TypeVar
from uuid import UUID

from fastapi import Depends, Form, Request
from pydantic import BaseModel, ConfigDict, Field

from api.commands.dependencies import BackgroundDep, PasswordsDep, SessionsDep, SigningKeysDep, TokensDep
from api.commands.dispatcher import CommandDispatcher, Commands
from api.dependencies import Context, DatabaseDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import RawResponse, json_answer
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Secret
from api.scopes import scopes_of
from api.uuid7 import new_id
from domain.accounts import ACCOUNTS, Account, EndedBy, EndSession, ReportTokenReuse, email_key, username_key
from domain.kernel.refusals import DoesNotExist, InvalidValue
from infra.errors import TooBusy
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity import credentials, ended_long_ago
from infra.identity.access_tokens import Issued, Tokens
from infra.identity.credentials import Credential
from infra.identity.passwords import Passwords
from infra.identity.sessions import Client, Reused, Rotated, Session, Sessions, Unknown
from infra.postgres.pool import Database

G = TypeVar("G", Session, Rotated)

routes = router(tags=["accounts"])

LONGEST_AGENT: Final = 200
LONGEST_REFRESH_TOKEN: Final = 100

_PRIVATE: Final = [(b"cache-control", b"no-store")]
_PUBLIC: Final = [(b"cache-control", b"public, max-age=300")]


class TokenForm(BaseModel):
    """RFC 6749 section 4.3. Parameters that it does not know are ignored, as section 3.2 demands."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    grant_type: Literal["password"]
    """Always `password`."""
    username: str
    """The account's email or username."""
    password: Secret
    """The account's password."""
    scope: str | None = Field(None, max_length=1000)
    """Fewer scopes than the account's roles give, with blanks between. Without it the token carries all of them."""


class RefreshBody(Body):
    """The refresh token that came with the last access token."""

    refresh_token: Secret = Field(max_length=LONGEST_REFRESH_TOKEN)
    """The newest refresh token of the session."""


class TokenDocument(BaseModel):
    """An access token, and the refresh token that is exchanged for the next one."""

    access_token: str
    """Goes into `Authorization: Bearer …`."""
    refresh_token: str
    """Good for one exchange at `/v1/auth/refresh`, within thirty days."""
    token_type: Literal["bearer"]
    """Always `bearer`."""
    expires_in: int
    """How many seconds the access token is good for."""
    scope: str
    """What it may do: scopes with blanks between."""


class KeySet(BaseModel):
    """Public keys as a JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, str]]
    """The keys that sign now, or have signed tokens that are still good. `kid` is what a token's header names."""


async def client_of(request: Request) -> Client:
    """A dependency: what the session list will say of the client."""
    exchange: RequestState = request.scope[EXCHANGE]
    agent = exchange.headers.get(b"user-agent", b"").decode("latin-1")
    peer = request.scope.get("client")
    printable = "".join(letter for letter in agent if letter.isprintable())
    return Client(user_agent=printable[:LONGEST_AGENT], source=peer[0] if peer else "")


Peer = Annotated[Client, Depends(client_of)]


@routes.post("/v1/auth/token", response_model=TokenDocument)
@limited("login")
@refuses("invalid-credentials", "insufficient-scope")
async def sign_in(
    form: Annotated[TokenForm, Form()],
    commands: Commands,
    database: DatabaseDep,
    sessions: SessionsDep,
    tokens: TokensDep,
    client: Peer,
    passwords: PasswordsDep,
    background: BackgroundDep,
) -> RawResponse:
    """Begin a session. An unknown name, a wrong password and a deactivated account look and cost the same.

    An `Idempotency-Key` has no meaning here: no answer with tokens in it is kept, and each sign-in is a session.
    """
    history = tokens.history
    known, account, version = await _proven(database, commands.handler, passwords, form)
    session = Session(
        session_id=new_id(),
        account_id=account.account_id,
        password_no=known.password_no,
        account_version=version,
        scope=form.scope,
    )
    issued = await _issued(tokens, session, account, version, history)
    # Last of all: a session that begins is one that somebody holds.
    refresh_token = await sessions.begin(session, client)
    if refresh_token is None:
        raise Problem("invalid-credentials")
    commands.note_commit()
    if known.password_hash is not None and passwords.needs_rehash(known.password_hash):
        with suppress(TooBusy):  # then at another sign-in
            background.start(_rehash(database, passwords, known, form.password))
    return _pair(issued, refresh_token)


@routes.post("/v1/auth/refresh", response_model=TokenDocument)
@limited("token")
@refuses("unauthenticated", "token-reused", "insufficient-scope")
async def refresh_tokens(
    body: RefreshBody,
    commands: Commands,
    _: Context,  # a malformed header is refused before the token is spent
    database: DatabaseDep,
    sessions: SessionsDep,
    tokens: TokensDep,
    client: Peer,
) -> RawResponse:
    """Exchange a refresh token for a new pair. A client that lost the answer may ask again within two minutes.

    A used token that comes later, or after its successor was used, ends the session: ``token-reused``. An
    `Idempotency-Key` has no meaning here: a thief shall not be told a kept answer.
    """
    session = await _good(commands, sessions, await sessions.look(body.refresh_token))
    history = tokens.history
    account, version = await commands.handler.now(ACCOUNTS, session.account_id)
    if account is None or not await _goes_on(database, account, session):
        raise _no_session()
    issued = await _issued(tokens, session, account, version, history)
    # Last of all: a token is used up by a request that has all else that its answer needs.
    rotated = await _good(commands, sessions, await sessions.rotate(body.refresh_token, client))
    commands.note_commit()
    return _pair(issued, rotated.refresh_token)


@routes.post("/v1/auth/logout", status_code=204)
@limited("token")
async def sign_out(body: RefreshBody, commands: Commands, _: Context, sessions: SessionsDep) -> None:
    """End the session of the refresh token. One that is over, or never was, needs no end (RFC 7009 section 2.2).

    So it may be repeated as it is, and an `Idempotency-Key` has no meaning here.
    """
    session = await sessions.find(body.refresh_token)
    if session is not None:
        command = EndSession(session_id=session.session_id, by=EndedBy.LOGOUT)
        await _end(commands, sessions, session, command)


@routes.get("/.well-known/jwks.json", response_model=KeySet)
@limited("public")
async def read_signing_keys(keys: SigningKeysDep) -> RawResponse:
    """The public keys that verify access tokens."""
    ring = await keys.ring()
    return RawResponse(200, [(b"content-type", b"application/json"), *_PUBLIC], ring.jwks)


async def _proven(
    database: Database, handler: CommandHandler, passwords: Passwords, form: TokenForm
) -> tuple[Credential, Account, int]:
    """The account that name and password belong to, how that was proven, and the account's version.

    What is asked of Postgres and of argon2 tells nobody who exists. A hash that the log has gone past proves nothing.
    """
    key = _key(form.username)
    found = await credentials.find(database, *key) if key else None
    right = await passwords.verify_password(found.password_hash if found else None, form.password)
    if found is None or not right:
        raise Problem("invalid-credentials")
    account, version = await handler.now(ACCOUNTS, found.account_id)
    if account is None or not account.active or account.password_no != found.password_no:
        raise Problem("invalid-credentials")
    return found, account, version


async def _rehash(database: Database, passwords: Passwords, known: Credential, password: str) -> None:
    """Hashes the password at today's cost, now that somebody who knows it is here. One that is not accepted today has
    to stay as it is."""
    with suppress(InvalidValue):
        await credentials.rehash(database, known, await passwords.hash_password(password))


async def _good(commands: CommandDispatcher, sessions: Sessions, found: G | Reused | Unknown) -> G:
    """What a refresh token stands for. One that was used before ends its session here, and none is good any more."""
    match found:
        case Reused(session=session, live=live):
            if live:
                await _end(commands, sessions, session, ReportTokenReuse(session_id=session.session_id))
            raise Problem("token-reused")
        case Unknown():
            raise _no_session()
        case _:
            return found


async def _goes_on(database: Database, account: Account, session: Session) -> bool:
    """Whether the log lets the session go on, whatever its row says."""
    begun_at = session.account_version
    if not account.keeps(session.session_id, session.password_no, begun_at):
        return False
    return not await ended_long_ago.session_ended(database, account, session.session_id, begun_at)


async def _issued(tokens: Tokens, session: Session, account: Account, version: int, history: UUID) -> Issued:
    """An access token of the session, for what the account may do at that version of it, in that history of the log."""
    granted, session_id = _granted(account, session.scope), session.session_id
    return await tokens.issue(account.account_id, granted, session_id=session_id, version=version, history=history)


async def _end(
    commands: CommandDispatcher,
    sessions: Sessions,
    session: Session,
    command: EndSession | ReportTokenReuse,
) -> None:
    """Ends a session: told to the log first, so that every process hears of it even if this one gets no further."""
    with suppress(DoesNotExist):  # an erased account has no session either
        await commands.handle_unconditionally((ACCOUNTS, session.account_id), command, session.account_id)
    await sessions.end(session.session_id)


def _no_session() -> Problem:
    return Problem("unauthenticated", "The refresh token is not good, or its session is over.")


def _pair(issued: Issued, refresh_token: str) -> RawResponse:
    document = {
        "access_token": issued.token,
        "refresh_token": refresh_token,
        "token_type": "bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
    }
    return json_answer(document, headers=_PRIVATE)


def _key(name: str) -> tuple[str, str] | None:
    """The unique key that a name stands for: with an ``@`` an email, for no username has one."""
    try:
        return ("email", email_key(name)) if "@" in name else ("username", username_key(name))
    except InvalidValue:
        return None


def _granted(account: Account, wanted: str | None) -> frozenset[str]:
    """All scopes of the account's roles, or those of them that were asked for."""
    scopes = scopes_of(account.roles)
    if wanted is None or not wanted.strip():  # RFC 6749, 3.2: a parameter without a value is one that is left out
        return scopes
    if not (granted := scopes & frozenset(wanted.split())):
        raise Problem("insufficient-scope", "The account has none of the scopes asked for.")
    return granted
