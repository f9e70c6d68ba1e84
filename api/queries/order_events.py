"""Orders as they change: server-sent events for their customer, and for staff."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Final
from uuid import UUID

import orjson
from fastapi import Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse
from pydantic import StringConstraints

from api.dependencies import EventStreamsDep, LogDep, SubscriptionsDep
from api.errors import Problem
from api.http.event_stream import EventStream, event
from api.http.fast_route import router
from api.http.principal import Principal
from api.queries.dependencies import PagesDep
from api.queries.lists.page_reader import Pages
from api.queries.order_history import customer_of, folded, sees
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.security import holds_still, require
from domain.kernel.messages import Recorded
from domain.orders import OrderStatus
from infra.concurrency.cancellation import cancel_and_wait
from infra.errors import NotFound
from infra.eventsourcing.codec import MalformedEvent, UnknownEventType
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.subscriptions import Ended, FollowedEvent, Reason, Subscription, Subscriptions
from projections.order_summary import ORDER_SUMMARY, OrderSummary

routes = router(tags=["orders"])

MOST_ORDERS: Final = 20
"""A browser has six connections to a server by HTTP/1.1: who watches many orders has one stream for all of them."""

TOLD: Final = "Server-sent events; the `data` of each is `order_id`, `version`, `type`, `status` and `at` as JSON."

READS: Final = frozenset({"orders:read"})
Reader = Annotated[Principal, Depends(require(*READS))]
LastVersions = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(,[0-9]{1,9}){0,19}$")]
LastHeader = Header(description="The `id` of the last event that came.")


@routes.get("/v1/orders/events", response_class=EventSourceResponse, response_description=TOLD)
@limited("read")
@refuses("not-found", "too-many-streams", "streams-full")
async def follow_orders(
    request: Request,
    order_id: Annotated[
        list[UUID], Query(min_length=1, max_length=MOST_ORDERS, description="Which orders; one after the other.")
    ],
    reader: Reader,
    pages: PagesDep,
    log: LogDep,
    subscriptions: SubscriptionsDep,
    streams: EventStreamsDep,
    last_event_id: Annotated[LastVersions | None, LastHeader] = None,
) -> EventStream:
    """What happens to up to 20 orders, as it happens, over one connection.

    Each is told of as by its own stream. The `id` of an event has the versions of all orders, in the order in which
    they were asked for: whoever comes back with it as `Last-Event-ID`, and the same orders, misses nothing. If one of
    them is another customer's, none is found.
    """
    stream = partial(EventStream, streams, reader, partial(holds_still, request.scope, READS))
    orders = await _orders(pages, log, list(dict.fromkeys(order_id)), last_event_id, reader)
    return stream(partial(orders_feed, subscriptions, orders))


@routes.get("/v1/orders/{order_id}/events", response_class=EventSourceResponse, response_description=TOLD)
@limited("read")
@refuses("too-many-streams", "streams-full")
async def follow_order(
    request: Request,
    order_id: UUID,
    reader: Reader,
    pages: PagesDep,
    log: LogDep,
    subscriptions: SubscriptionsDep,
    streams: EventStreamsDep,
    last_event_id: Annotated[LastVersions | None, LastHeader] = None,
) -> EventStream:
    """What happens to an order, as it happens, from its placing on. Another customer's order is not found.

    `status` is what the order's document shows behind the event, `type` is as in its history, and the `id` of each is
    the order's version: whoever comes back with the last as `Last-Event-ID` misses nothing and gets nothing twice.
    After 15 seconds of silence there is a comment. An `end` event says why the server ends a stream.
    """
    stream = partial(EventStream, streams, reader, partial(holds_still, request.scope, READS))
    orders = await _orders(pages, log, [order_id], last_event_id, reader)
    return stream(partial(orders_feed, subscriptions, orders))


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderChange:
    """Something that has happened to an order."""

    order_id: UUID
    """The order."""
    version: int
    """How many events it has had with this one."""
    type: str
    """What has happened, as in its history."""
    status: OrderStatus | None
    """The order's status behind it."""
    at: datetime
    """When."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """An order as the client knows it: at a version, 0 of one that it knows nothing of."""

    order_id: UUID
    version: int
    order: OrderSummary | None


async def _orders(
    pages: Pages, log: EventLog, order_ids: Sequence[UUID], last_event_id: str | None, reader: Principal
) -> Sequence[_Known]:
    """Raises NotFound, and :class:`~api.errors.Problem` ``invalid`` for versions that these orders have not come to."""
    for order_id in order_ids:
        if not sees(reader, await customer_of(pages, order_id)):
            raise NotFound
    versions = [0] * len(order_ids) if last_event_id is None else [int(part) for part in last_event_id.split(",")]
    if len(versions) != len(order_ids):
        raise _unknown_versions()
    return [await _known(pages, log, *each) for each in zip(order_ids, versions, strict=True)]


async def _known(pages: Pages, log: EventLog, order_id: UUID, version: int) -> _Known:
    order = await folded(pages, log, order_id, version, None) if version else None
    if version and (order is None or order.version != version):
        raise _unknown_versions()
    return _Known(order_id=order_id, version=version, order=order)


def _unknown_versions() -> Problem:
    detail = "It is no id of an event of these orders."
    finding = {"pointer": "/header/last-event-id", "code": "unknown-version", "detail": detail}
    return Problem("invalid", errors=[finding])


@asynccontextmanager
async def orders_feed(subscriptions: Subscriptions, orders: Sequence[_Known]) -> AsyncIterator["OrdersFeed"]:
    """What happens to the orders, until the end of the block."""
    with ExitStack() as stack:
        followed = [
            _Followed(each, stack.enter_context(subscriptions.to_stream(each.order_id, after=each.version)))
            for each in orders
        ]
        try:
            yield OrdersFeed(followed)
        finally:
            await cancel_and_wait(*(each.coming for each in followed))


class _Followed:
    """One order: how it stands behind what was told, and what is waited for."""

    def __init__(self, known: _Known, subscription: Subscription) -> None:
        self._subscription = subscription
        self._order = known.order
        self.version = known.version
        self.coming = asyncio.create_task(subscription.next())

    def take(self) -> Sequence[FollowedEvent]:
        """What has come, if anything has. Raises :class:`~infra.eventsourcing.subscriptions.Ended`."""
        if not self.coming.done():
            return ()
        came = self.coming.result()
        self.coming = asyncio.create_task(self._subscription.next())
        return came

    def tell(self, followed: FollowedEvent) -> bytes:
        """An event in its public form."""
        try:
            recorded = followed.recorded()
        except (UnknownEventType, MalformedEvent) as error:
            raise Ended(Reason.UNREADABLE) from error
        self._order = ORDER_SUMMARY.project(self._order, recorded)
        self.version = recorded.version
        return change_of(self._order, recorded)


def change_of(order: OrderSummary | None, recorded: Recorded) -> bytes:
    """An event of an order in its public form; ``order`` is how it stands behind it."""
    change = OrderChange(
        order_id=UUID(int=recorded.stream_id.int),
        version=recorded.version,
        type=recorded.type,
        status=None if order is None else order.status,
        at=recorded.recorded_at,
    )
    return orjson.dumps(change, option=orjson.OPT_UTC_Z)


class OrdersFeed:
    """Orders as they change. The place is the versions of all of them."""

    def __init__(self, orders: Sequence[_Followed]) -> None:
        self._orders = orders

    @property
    def place(self) -> str:
        """The versions up to which all has been told."""
        return ",".join(str(each.version) for each in self._orders)

    async def next(self, seconds: float) -> Sequence[bytes]:
        """What comes next, of whichever order."""
        coming = [each.coming for each in self._orders]
        await asyncio.wait(coming, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return [event(each.tell(followed), self.place) for each in self._orders for followed in each.take()]
