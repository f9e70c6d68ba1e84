"""API keys of one's own: what a program shows in ``X-API-Key`` instead of a token. Made and revoked here."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends
from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

from api.commands.authority import acting_as
from api.commands.dispatcher import CommandDispatcher
from api.dependencies import ClockDep, DatabaseDep
from api.errors import Problem
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import JSON, REPLAYED, Done, Headers, RawResponse
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import LONGEST_NAME, ApiKeyDocument, Body, Name
from api.scopes import MEANINGS
from api.security import in_session
from api.uuid7 import new_id
from domain.accounts import ACCOUNTS, RevokeApiKey
from domain.kernel.refusals import InvalidValue
from domain.kernel.unit_of_work import UnitOfWork
from domain.values import line
from infra.errors import NotFound, TooBusy
from infra.eventsourcing.commands.idempotency import Answered
from infra.eventsourcing.store import Last
from infra.identity import api_keys
from infra.identity.api_keys import NewKey
from infra.postgres.pool import Pooled
from infra.schemas.forms import Moment

routes = router("/v1/me/api-keys", tags=["accounts"])

LONGEST_LIFE: Final = timedelta(days=3660)
TRIES: Final = 5

_OWNER = in_session()
Owner = Annotated[Principal, Depends(_OWNER)]
Own = Annotated[CommandDispatcher, Depends(acting_as(_OWNER))]

Make = Callable[[tuple[int, Last | None], Pooled], Awaitable[dict[str, Any]]]
"""Stores a key of an account whose stream ends so, in a transaction; answers what is kept of it."""

_PRIVATE: Final = (b"cache-control", b"no-store")


def _known_scope(name: str) -> str:
    if name not in MEANINGS:
        raise PydanticCustomError("unknown_scope", "There is no such scope.")
    return name


ScopeName = Annotated[str, AfterValidator(_known_scope), Field(json_schema_extra={"enum": sorted(MEANINGS)})]


class MakeApiKeyBody(Body):
    """A key to be made. Its scopes are some of one's own; it loses those that the account loses."""

    name: Name
    """What it is for, 1 to 100 characters: only you read it."""
    scopes: list[ScopeName] = Field(min_length=1, max_length=len(MEANINGS))
    """What it may do: some of your own scopes."""
    expires_at: Moment | None = None
    """When it stops working, at most ten years ahead. Without it the key stays good."""


class MadeApiKeyDocument(ApiKeyDocument):
    """An API key with the key itself."""

    key: str | None
    """What goes into `X-API-Key`. It is shown this once, for it is not kept: a repeated request gets null."""


@routes.post("", status_code=201, response_model=MadeApiKeyDocument)
@limited("write")
@refuses("too-many-api-keys", "invalid-value")
async def make_api_key(
    body: MakeApiKeyBody,
    owner: Owner,
    commands: Own,
    clock: ClockDep,
) -> RawResponse:
    """Make an API key. It reaches no further than who makes it, and an API key cannot make another."""
    key_id = new_id()
    fresh = api_keys.fresh(key_id)
    new = NewKey(
        key_id=key_id,
        account_id=owner.id,
        name=line(body.name, "/name", longest=LONGEST_NAME),
        digest=fresh.digest,
        scopes=sorted(set(body.scopes)),
        expires_at=body.expires_at,
    )
    made = await _made(commands, partial(_make, body, owner, new, await clock.now()), owner)
    document = ApiKeyDocument.of(api_keys.as_told(made.answer))
    shown = MadeApiKeyDocument(**document.model_dump(), key=None if made.replayed else fresh.text)
    headers: Headers = [(b"location", b"/v1/me/api-keys/%b" % str(shown.id).encode("ascii"))]
    if made.replayed:
        headers.append(REPLAYED)
    return _told(shown, 201, headers)


@routes.delete("/{key_id}")
@limited("write")
async def revoke_api_key(key_id: UUID, owner: Owner, commands: Own, database: DatabaseDep) -> Done:
    """Revoke an API key: within two seconds it opens nothing any more, and nothing is written with it any more."""
    there = await api_keys.is_kept(database, owner.id, key_id)

    def decide(work: UnitOfWork) -> None:
        if not there:
            raise NotFound
        work.execute(ACCOUNTS, owner.id, RevokeApiKey(key_id=key_id))

    # Told to the log first, so that every process hears of it even if this one gets no further.
    receipt = await commands.run([(ACCOUNTS, owner.id)], decide)
    await api_keys.revoke(database, owner.id, key_id)
    return Done(replayed=receipt.replayed)


async def _made(commands: CommandDispatcher, make: Make, owner: Principal) -> Answered:
    """The key, made by an account that may: if it changes in between, all is asked once more."""
    for _ in range(TRIES):
        standing = await commands.entitled(owner.id)
        try:
            with api_keys.account_unchanged():
                return await commands.write(partial(make, standing))
        except api_keys.AccountChanged:
            continue
        except api_keys.TooManyApiKeys:
            raise Problem("too-many-api-keys") from None
    raise TooBusy("the account changes all the time")


async def _make(
    body: MakeApiKeyBody,
    owner: Principal,
    new: NewKey,
    now: datetime,
    standing: tuple[int, Last | None],
    connection: Pooled,
) -> dict[str, Any]:
    _check(body, owner, now)
    return api_keys.told(await api_keys.make(connection, new, *standing))


def _check(body: MakeApiKeyBody, owner: Principal, now: datetime) -> None:
    """``now`` is by Postgres's clock, by which the key will run out."""
    if not owner.scopes.issuperset(body.scopes):
        raise Problem("insufficient-scope", "A key cannot have scopes that you do not have.")
    if body.expires_at is not None and not now < body.expires_at <= now + LONGEST_LIFE:
        raise InvalidValue("must be in the next ten years", pointer="/expires_at")


def _told(document: BaseModel, status: int = 200, headers: Headers | None = None) -> RawResponse:
    body = document.model_dump_json().encode("utf-8")
    return RawResponse(status, [JSON, _PRIVATE, *(headers or ())], body)
