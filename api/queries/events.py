"""Reading the log itself: every event in its order, or those of one stream. Always up to the last commit."""

from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import orjson
import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, Field

from api.dependencies import LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep
from api.queries.documents import PRIVATE
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, page_answer, read_cursor
from api.queries.lists.page_reader import Pages
from api.rate_limits.policies import limited
from api.schemas import Described
from api.security import require
from infra.errors import NotFound
from infra.eventsourcing.event_log import LAST
from infra.postgres.statements import Statement
from infra.postgres.tables.log import events

routes = router(tags=["events"])

SPAN: Final = 20_000
"""How many positions one request looks at in search of events that pass its filters."""

Auditor = Annotated[Principal, Depends(require("events:read"))]
Name = Annotated[str, Field(max_length=100)]


class EventDocument(Described):
    """An event as it was recorded."""

    position: int
    """Its place in the whole log: 1, 2, 3 …, without holes, in the order of the commits."""
    stream_id: UUID
    """Which stream it belongs to."""
    version: int
    """Its place in that stream: 1, 2, 3 …"""
    category: str
    """What kind of thing the stream is of: `account`, `product`, `inventory`, `order`, `room`."""
    type: str
    """What happened: `order.placed`."""
    data: dict[str, Any]
    """The event itself, as it was stored; its fields depend on the type."""
    metadata: dict[str, Any]
    """Where it came from, as far as is known: `actor`, `correlation` (a request id), `causation`, `traceparent`."""
    recorded_at: AwareDatetime
    """When it was committed."""


_limit: Final[Any] = sa.bindparam("limit")
_events: Final = sa.select(*[events.c[name] for name in EventDocument.model_fields]).limit(_limit)


def _passing(column: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    """A filter that lets everything pass where it is not used."""
    return sa.bindparam(name, type_=sa.Text).is_(None) | (column == sa.bindparam(name))


_LOG: Final = Statement(
    _events.where(
        events.c.position > sa.bindparam("after"),
        events.c.position <= sa.bindparam("end"),
        _passing(events.c.category, "category"),
        _passing(events.c.type, "type"),
    ).order_by(events.c.position)
)
_STREAM: Final = Statement(
    _events.where(events.c.stream_id == sa.bindparam("stream"), events.c.version > sa.bindparam("after")).order_by(
        events.c.version
    )
)


class EventFilters(PageParams):
    """Which events. With filters a page may be short and yet have a ``next``: a request looks at a bounded span."""

    after: int = Field(0, ge=0, le=LAST)
    """Only events behind this position; 0 begins at the first."""
    category: Name | None = None
    """Only events of streams of this kind: `order`."""
    type: Name | None = None
    """Only events of this type: `order.placed`."""

    @property
    def filtered(self) -> bool:
        """Whether events are passed over."""
        return self.category is not None or self.type is not None


@routes.get("/v1/events", response_model=Page[EventDocument])
@limited("read")
async def list_events(
    request: Request, _: Auditor, filters: Annotated[EventFilters, QueryParams()], pages: PagesDep, log: LogDep
) -> RawResponse:
    """The log from a position on, in order and without holes."""
    list_id = cursors.list_id(log, "events", {"category": filters.category, "type": filters.type})
    after = read_cursor(list_id, filters.cursor, (int,))[0] if filters.cursor else filters.after
    end = await _end(pages, after, filters)
    asked = _LOG(after=after, end=end.position, category=filters.category, type=filters.type, limit=filters.limit + 1)
    rows = await pages.ask(*asked)
    shown = rows[: filters.limit]
    cursor = None
    if len(rows) > filters.limit:
        cursor = cursors.encode(list_id, [shown[-1]["position"]])
    elif end.more:
        cursor = cursors.encode(list_id, [end.position])
    return page_answer(request, [_document(row) for row in shown], cursor, PRIVATE)


class _End(NamedTuple):
    """The last position that a page looks at, and whether the log is known to go on behind it."""

    position: int
    more: bool


async def _end(pages: Pages, after: int, filters: EventFilters) -> _End:
    """How far a page looks. It must be known before the events are read: whatever is appended in between lies behind
    the head that was seen, and would be passed over by a page that looked at the head of a later moment."""
    if not filters.filtered:
        return _End(LAST, False)
    (head,) = await pages.ask("SELECT log_position() AS position")
    looked: int = min(after + SPAN, max(head["position"], after))
    return _End(looked, looked < head["position"])


class StreamPage(PageParams):
    """Which part of the stream."""


@routes.get("/v1/streams/{stream_id}/events", response_model=Page[EventDocument])
@limited("read")
async def list_stream_events(
    request: Request,
    stream_id: UUID,
    _: Auditor,
    params: Annotated[StreamPage, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """All events of one stream, from version 1 on."""
    list_id = cursors.list_id(log, "stream", {"stream_id": stream_id})
    after = read_cursor(list_id, params.cursor, (int,))[0] if params.cursor else 0
    rows = await pages.ask(*_STREAM(stream=stream_id, after=after, limit=params.limit + 1))
    if not rows and not after:
        raise NotFound
    shown = rows[: params.limit]
    cursor = cursors.encode(list_id, [shown[-1]["version"]]) if len(rows) > params.limit else None
    return page_answer(request, [_document(row) for row in shown], cursor, PRIVATE)


def _document(row: asyncpg.Record) -> bytes:
    """An event as JSON, around data and metadata that are JSON already."""
    fields = dict(row)
    for name in ("data", "metadata"):
        fields[name] = orjson.Fragment(fields[name])
    fields["stream_id"] = str(fields["stream_id"])  # the driver's UUID is a class of its own
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)
