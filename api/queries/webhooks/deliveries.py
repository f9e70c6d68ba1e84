"""What was sent to webhooks of one's own: each delivery with its last attempts, and what the subscriber said."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import BaseModel

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep, WebhooksDep
from api.queries.documents import PRIVATE
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, page_answer, read_cursor
from api.rate_limits.policies import limited
from api.security import require
from infra.eventsourcing.event_log import LAST
from infra.postgres.statements import Statement, inline
from infra.postgres.tables.webhooks import webhook_deliveries

routes = router("/v1/webhooks/{webhook_id}/deliveries", tags=["webhooks"])

DeliveryState = Literal["due", "delivered", "failed", "dropped"]
Reader = Annotated[Principal, Depends(require("webhooks:read"))]


class Attempt(BaseModel):
    """One POST, and what came of it."""

    at: datetime
    """When it was made."""
    status: int | None
    """The status of the answer; null if there was none."""
    ms: int
    """How long it took, in milliseconds."""
    answer: str
    """The answer's first KiB."""
    error: str | None
    """Why there was no answer, in a word; null if there was one."""


class DeliveryDocument(BaseModel):
    """An event on its way to a subscriber, or there."""

    id: UUID
    """Its `webhook-id`: the same at every attempt."""
    type: str
    """What it tells of."""
    position: int
    """Where in the log the event stands."""
    state: DeliveryState
    """`due`: to be tried, again perhaps. `delivered`: taken. `failed`: not taken for a day. `dropped`: the webhook was
    deactivated before it was taken."""
    attempts: int
    """How often it was tried."""
    due_at: datetime | None
    """When it is tried next, at the earliest; null if it is not."""
    created_at: datetime
    """When it was first due."""
    settled_at: datetime | None
    """When it was taken, given up or dropped."""
    answers: list[Attempt]
    """The last ten attempts, the newest last."""


class DeliveryFilters(PageParams):
    """Which deliveries; those of the newest events come first."""

    state: DeliveryState | None = None
    """Only those in this state."""


_row: Final = webhook_deliveries.c
_columns: Final = (
    _row.delivery_id.label("id"),
    *(_row[name] for name in ("type", "position", "state", "attempts", "created_at", "settled_at", "answers")),
    sa.case((_row.state == inline("due"), _row.due_at)).label("due_at"),
)
_newest: Final = (
    sa.select(*_columns)
    .where(_row.webhook_id == sa.bindparam("webhook"), _row.position < sa.bindparam("before"))
    .order_by(_row.position.desc())
    .limit(sa.bindparam("limit"))
)
_ALL: Final = Statement(_newest)
_OF_STATE: Final = Statement(_newest.where(_row.state == sa.bindparam("state")))


@routes.get("", response_model=Page[DeliveryDocument])
@limited("read")
async def list_deliveries(
    request: Request,
    context: Context,
    webhook_id: UUID,
    reader: Reader,
    filters: Annotated[DeliveryFilters, QueryParams()],
    webhooks: WebhooksDep,
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """What was sent to a webhook within the last 30 days, and what is owed to it.

    A webhook that was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    await webhooks.find(webhook_id, context, reader, reader.id.__eq__)
    list_id = cursors.list_id(log, "webhook_deliveries", {"webhook": webhook_id, "state": filters.state})
    before = read_cursor(list_id, filters.cursor, (int,))[0] if filters.cursor else LAST
    asked = {"webhook": webhook_id, "before": before, "limit": filters.limit + 1}
    rows = await pages.ask(*(_OF_STATE(state=filters.state, **asked) if filters.state else _ALL(**asked)))
    shown = rows[: filters.limit]
    cursor = cursors.encode(list_id, [shown[-1]["position"]]) if len(rows) > filters.limit else None
    return page_answer(request, [_document(row) for row in shown], cursor, PRIVATE)


def _document(row: Any) -> bytes:
    told = {**row, "answers": orjson.loads(row["answers"])}
    return DeliveryDocument(**told).model_dump_json().encode()
