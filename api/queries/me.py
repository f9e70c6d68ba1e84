"""Reading what is one's own: the account, where one is signed in, and the API keys."""

from typing import Annotated, Final
from uuid import UUID

import asyncpg
import orjson
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, BaseModel

from api.dependencies import Context, DatabaseDep, LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import JSON, RawResponse
from api.queries.dependencies import AccountsDep, PagesDep
from api.queries.documents import PRIVATE, if_none_match
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, moment, page_of_few
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import ApiKeyDocument
from api.security import in_session, require
from infra.errors import NotFound
from infra.identity import api_keys
from infra.identity.api_keys import ApiKey
from infra.identity.sessions import MOST_LIVE
from projections.account_card import AccountCard

routes = router(tags=["accounts"])

_LIVE: Final = (
    "SELECT session_id, user_agent, source, created_at, last_used_at, expires_at FROM sessions "
    "WHERE account_id = $1 AND ended_at IS NULL AND expires_at > now() "
    "ORDER BY last_used_at DESC, session_id DESC LIMIT $2"
)
_NO_STORE: Final = (b"cache-control", b"no-store")

InSession = Annotated[Principal, Depends(in_session())]


class OwnPage(PageParams):
    """Which part of what is one's own."""


class SessionDocument(BaseModel):
    """A place where the account is signed in."""

    id: UUID
    """The session's id, by which it is ended."""
    current: bool
    """Whether it is the one that asks."""
    user_agent: str
    """What the client there said of itself when it was last used, at most 200 characters."""
    source: str
    """The IP address it was last used from."""
    created_at: AwareDatetime
    """When somebody signed in."""
    last_used_at: AwareDatetime
    """When its tokens were last exchanged."""
    expires_at: AwareDatetime
    """When it ends, unless it is used before."""


@routes.get("/v1/me", response_model=AccountCard)
@limited("read")
@refuses("not-found")
async def read_me(
    request: Request,
    context: Context,
    me: Annotated[Principal, Depends(require())],
    accounts: AccountsDep,
) -> RawResponse:
    """One's own account.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    found = await accounts.find(me.id, context, me)
    return found.to(if_none_match(request))


@routes.get("/v1/me/sessions", response_model=Page[SessionDocument])
@limited("read")
async def list_my_sessions(
    request: Request,
    me: InSession,
    params: Annotated[OwnPage, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """Where one is signed in, the last used first, as of now."""
    rows = await pages.ask(_LIVE, me.id, MOST_LIVE)
    items = [((moment(row["last_used_at"]), str(row["session_id"])), _document(row, me)) for row in rows]
    return page_of_few(request, cursors.list_id(log, "sessions", {"account": me.id}), params, items, PRIVATE)


@routes.get("/v1/me/api-keys", response_model=Page[ApiKeyDocument])
@limited("read")
async def list_api_keys(
    request: Request, me: InSession, params: Annotated[OwnPage, QueryParams()], database: DatabaseDep, log: LogDep
) -> RawResponse:
    """One's own API keys that are good, the newest first."""
    keys = await api_keys.listed(database, me.id)
    items = [((moment(key.created_at), str(key.key_id)), _shown(key)) for key in keys]
    return page_of_few(request, cursors.list_id(log, "api_keys", {"account": me.id}), params, items, _NO_STORE)


@routes.get("/v1/me/api-keys/{key_id}", response_model=ApiKeyDocument)
@limited("read")
async def read_api_key(key_id: UUID, me: InSession, database: DatabaseDep) -> RawResponse:
    """One of one's own API keys."""
    found = next((key for key in await api_keys.listed(database, me.id) if key.key_id == key_id), None)
    if found is None:
        raise NotFound
    return RawResponse(200, [JSON, _NO_STORE], _shown(found))


def _document(row: asyncpg.Record, me: Principal) -> bytes:
    fields = dict(row)
    session_id = fields.pop("session_id")
    shown = {"id": str(session_id), "current": session_id == me.session_id, **fields}
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z)


def _shown(key: ApiKey) -> bytes:
    return ApiKeyDocument.of(key).model_dump_json().encode()
