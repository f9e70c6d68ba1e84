"""Reading what is one's own: the account, and where one is signed in."""

from typing import Annotated, Final
from uuid import UUID

import asyncpg
import orjson
from fastapi import Depends, Request
from pydantic import AwareDatetime, BaseModel

from api.dependencies import Context
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import AccountsDep, PagesDep
from api.queries.documents import PRIVATE, if_none_match
from api.queries.lists.page_answer import Page, page_answer
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.security import in_session, require
from infra.identity.sessions import MOST_LIVE
from projections.account_card import AccountCard

routes = router(tags=["accounts"])

_LIVE: Final = (
    "SELECT session_id, user_agent, source, created_at, last_used_at, expires_at FROM sessions "
    "WHERE account_id = $1 AND ended_at IS NULL AND expires_at > now() "
    "ORDER BY last_used_at DESC, session_id DESC LIMIT $2"
)


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
    me: Annotated[Principal, Depends(in_session())],
    pages: PagesDep,
) -> RawResponse:
    """Where one is signed in, the last used first, as of now. They are few, so ``next`` is always null."""
    rows = await pages.ask(_LIVE, me.id, MOST_LIVE)
    return page_answer(request, [_document(row, me) for row in rows], None, PRIVATE)


def _document(row: asyncpg.Record, me: Principal) -> bytes:
    fields = dict(row)
    session_id = fields.pop("session_id")
    shown = {"id": str(session_id), "current": session_id == me.session_id, **fields}
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z)
