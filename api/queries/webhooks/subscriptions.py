"""Reading webhooks of one's own."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep, WebhooksDep
from api.queries.documents import PRIVATE, if_none_match, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer
from api.queries.lists.query import Condition, Query, Sort
from api.queries.read_models import WEBHOOKS
from api.rate_limits.policies import limited
from api.security import require
from infra.postgres.statements import TIMESTAMPTZ
from projections.webhook_card import WebhookCard

routes = router("/v1/webhooks", tags=["webhooks"])

NEWEST: Final = Sort(
    column="created_at", type=TIMESTAMPTZ, read=datetime.fromisoformat, write=datetime.isoformat, descending=True
)
_OF_ACCOUNT: Final = Condition(sa.column("account_id", sa.Uuid) == sa.bindparam("account"))

Reader = Annotated[Principal, Depends(require("webhooks:read"))]


@routes.get("", response_model=Page[WebhookCard])
@limited("read")
async def list_webhooks(
    request: Request,
    context: Context,
    reader: Reader,
    paging: Annotated[PageParams, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """One's own webhooks, page by page, the newest first."""
    list_id = cursors.list_id(log, WEBHOOKS, {"account_id": reader.id})
    query = Query(projection=WEBHOOKS, sort=NEWEST, list_id=list_id)
    query.within(_OF_ACCOUNT, account=reader.id)
    continue_after(query, paging.cursor)
    page = await pages.fetch(query, paging.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PRIVATE)


@routes.get("/{webhook_id}", response_model=WebhookCard)
@limited("read")
async def read_webhook(
    request: Request, context: Context, webhook_id: UUID, reader: Reader, webhooks: WebhooksDep
) -> RawResponse:
    """One of one's own webhooks. Another account's is not found.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    found = await webhooks.find(webhook_id, context, reader, reader.id.__eq__)
    return found.to(if_none_match(request))
