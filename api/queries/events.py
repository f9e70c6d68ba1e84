"""Reading the log itself: every event in its order, or those of one stream. Always up to the last commit."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
import structlog
from asyncpg import Record
from fastapi import Depends, Header, Request
from fastapi import Query as QueryParams
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from api.dependencies import EventStreamsDep, LogDep, SubscriptionsDep
from api.errors import Problem
from api.http.accept import VARIES
from api.http.event_stream import EVENT_STREAM, EventStream, event, wants_events
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import PagesDep
from api.queries.documents import PRIVATE
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, page_answer, read_cursor
from api.queries.lists.page_reader import Pages
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.security import holds_still, require
from infra.errors import NotFound, Unavailable
from infra.eventsourcing.event_log import LAST, EventLog
from infra.eventsourcing.projections.fold import describe
from infra.eventsourcing.subscriptions import FollowedEvent, Subscription, Subscriptions, Wanted
from infra.postgres.statements import Sent, Statement
from infra.postgres.tables.log import events

routes = router(tags=["events"])

_log = structlog.get_logger("weir.events")

SPAN: Final = 20_000
"""How many positions one request looks at in search of events that pass its filters."""

AUDITS: Final = frozenset({"events:read"})
Auditor = Annotated[Principal, Depends(require(*AUDITS))]
LastPosition = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
Name = Annotated[str, Field(max_length=100)]


class EventDocument(BaseModel):
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


_HEAD: Final = "SELECT log_position() AS position"
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


@routes.get(
    "/v1/events",
    response_model=Page[EventDocument],
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
@limited("read")
@refuses("too-many-streams", "streams-full")
async def list_events(
    request: Request,
    auditor: Auditor,
    filters: Annotated[EventFilters, QueryParams()],
    pages: PagesDep,
    log: LogDep,
    subscriptions: SubscriptionsDep,
    streams: EventStreamsDep,
    last_event_id: Annotated[LastPosition | None, Header(description="The `id` of the last event that came.")] = None,
) -> RawResponse | EventStream:
    """The log from a position on, in order and without holes: page by page, or as it grows.

    With `Accept: text/event-stream` it is a stream of server-sent events: what there is behind `after`, then each event
    within a moment of its commit. The `data` of each is an item of the list, its `id` the position. Whoever comes back
    with the last of them as `Last-Event-ID` misses nothing and gets nothing twice. After 15 seconds of silence there is
    a comment. An `end` event says why the server ends a stream; a client that does not keep up is cut off.
    """
    if not wants_events(request):
        page = await page_of(request, filters, pages, log)
        return page._replace(headers=[*page.headers, VARIES])
    _, after = _begin(filters, log)
    after = after if last_event_id is None else int(last_event_id)
    await _insist(pages, after)
    feed = partial(log_feed, subscriptions, after, Wanted(category=filters.category, type=filters.type))
    stream = EventStream(streams, auditor, partial(holds_still, request.scope, AUDITS), feed)
    stream.raw_headers.append(VARIES)
    return stream


def _begin(filters: EventFilters, log: EventLog) -> tuple[bytes, int]:
    """Which list it is, and the position behind which it goes on."""
    list_id = cursors.list_id(log, "events", {"category": filters.category, "type": filters.type})
    return list_id, read_cursor(list_id, filters.cursor, (int,))[0] if filters.cursor else filters.after


async def page_of(request: Request, filters: EventFilters, pages: Pages, log: EventLog) -> RawResponse:
    """A page of the log."""
    list_id, after = _begin(filters, log)
    end = await _end(pages, after, filters)
    asked = _LOG(after=after, end=end.position, category=filters.category, type=filters.type, limit=filters.limit + 1)
    rows = await _asked(pages, asked, after=after)
    shown = rows[: filters.limit]
    cursor = None
    if len(rows) > filters.limit:
        cursor = cursors.encode(list_id, [shown[-1]["position"]])
    elif end.more:
        cursor = cursors.encode(list_id, [end.position])
    return page_answer(request, [_document(dict(row)) for row in shown], cursor, PRIVATE)


async def _asked(pages: Pages, asked: Sent, **about: Any) -> Sequence[Record]:
    """The events that a statement selects. Raises ``Unavailable`` also where the driver has no value for what one of
    them holds, until somebody has mended it: a page without it would pass it over."""
    try:
        return await pages.ask(*asked)
    except OverflowError as error:
        _log.error("events cannot be read", **about, error=describe(error))
        raise Unavailable("events cannot be read") from error


async def _insist(pages: Pages, after: int) -> None:
    """Raises ``invalid`` for a position that the log has not come to: it is that of another log, or of another history
    of this one, and what has that position here would be missed."""
    (head,) = await pages.ask(_HEAD)
    if after > head["position"]:
        finding = {"pointer": "/header/last-event-id", "code": "unknown-position", "detail": "The log ends before it."}
        raise Problem("invalid", errors=[finding])


class _End(NamedTuple):
    """The last position that a page looks at, and whether the log is known to go on behind it."""

    position: int
    more: bool


async def _end(pages: Pages, after: int, filters: EventFilters) -> _End:
    """How far a page looks. It must be known before the events are read: whatever is appended in between lies behind
    the head that was seen, and would be passed over by a page that looked at the head of a later moment."""
    if not filters.filtered:
        return _End(LAST, False)
    (head,) = await pages.ask(_HEAD)
    looked: int = min(after + SPAN, max(head["position"], after))
    return _End(looked, looked < head["position"])


@asynccontextmanager
async def log_feed(subscriptions: Subscriptions, after: int, wanted: Wanted) -> AsyncIterator["LogFeed"]:
    """The log behind a position, until the end of the block."""
    with subscriptions.to_log(after=after, wanted=wanted) as subscription:
        yield LogFeed(subscription)


class LogFeed:
    """The log as it grows: each event as an item of the list, made once for all who follow."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def place(self) -> str:
        """The position up to which all has been told, or passed over."""
        return str(self._subscription.place)

    async def next(self, seconds: float) -> Sequence[bytes]:
        """What comes next."""
        return [each.once(_frame) for each in await self._subscription.next(seconds)]


def _frame(followed: FollowedEvent) -> bytes:
    fields = {name: followed.row[name] for name in EventDocument.model_fields}
    return event(_document(fields), str(followed.place))


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
    asked = _STREAM(stream=stream_id, after=after, limit=params.limit + 1)
    rows = await _asked(pages, asked, stream_id=str(stream_id), after=after)
    if not rows and not after:
        raise NotFound
    shown = rows[: params.limit]
    cursor = cursors.encode(list_id, [shown[-1]["version"]]) if len(rows) > params.limit else None
    return page_answer(request, [_document(dict(row)) for row in shown], cursor, PRIVATE)


def _document(fields: dict[str, Any]) -> bytes:
    """An event as JSON, around data and metadata that are JSON already."""
    for name in ("data", "metadata"):
        fields[name] = orjson.Fragment(fields[name])
    fields["stream_id"] = str(fields["stream_id"])  # the driver's UUID is a class of its own
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)
