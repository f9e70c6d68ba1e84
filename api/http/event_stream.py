"""Server-sent events: an answer that goes on until its client hangs up, its access ends, or the process does.

The form is that of the HTML standard (9.2), the class and the format are FastAPI's.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message, Receive, Scope, Send

from api.errors import Problem
from api.http.accept import prefers_events
from api.http.body_reader import ClientGone
from api.http.places import Places
from api.http.principal import Principal
from api.http.request_context import EXCHANGE, RequestState
from infra.concurrency.cancellation import cancel_and_wait
from infra.eventsourcing.subscriptions import Ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The times of a stream, in seconds.

    ``heartbeat``: proxies close what is silent for longer, some after half a minute. ``look``: how often it is asked
    whether access still holds. ``send``: a client that does not make room for the next part within so long is cut off.
    """

    heartbeat: float = 15.0
    look: float = 0.5
    send: float = 10.0


PACE: Final = Pace()

PART_BYTES: Final = 32 * 1024
"""What is sent at once, about: no more than that waits in the server's memory for one client."""

RETRY_MS: Final = (1_000, 3_000)
"""When clients are to come back; not all at the same moment."""

EVENT_STREAM: Final = "text/event-stream"

HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamEnd:
    """The data of the last event, ``end``: the server ends the stream."""

    reason: str
    """`access-ended`, `too-slow`, `other-history`, `unreadable` or `closed`."""


class Feed(Protocol):
    """What a stream tells."""

    @property
    def place(self) -> str:
        """What a client that has had all of it so far sends as ``Last-Event-ID``."""

    async def next(self, seconds: float) -> Sequence[bytes]:
        """The events that come next, each in its final form; nothing if none comes in so many seconds.

        Raises :class:`~infra.eventsourcing.subscriptions.Ended`.
        """


OpenFeed = Callable[[], AbstractAsyncContextManager[Feed]]
Holds = Callable[[], Awaitable[bool]]
"""Whether the access by which the stream was opened still holds."""


def wants_events(request: Request) -> bool:
    """Whether the client asks for a stream where it can have JSON."""
    exchange: RequestState = request.scope[EXCHANGE]
    return prefers_events(exchange.headers.get(b"accept", b""))


def event(data: bytes, place: str) -> bytes:
    """An event, whose data is JSON on one line."""
    return format_sse_event(data_str=data.decode("utf-8"), id=place)


class EventStream(EventSourceResponse):
    """The answer. Nothing is opened before it is sent; a refusal can still be told then."""

    def __init__(
        self, places: Places, principal: Principal, holds: Holds, open_feed: OpenFeed, *, pace: Pace = PACE
    ) -> None:
        super().__init__((), headers=HEADERS)
        self._pace = pace
        self._places = places
        self._principal = principal
        self._holds = holds
        self._open_feed = open_feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tells what there is until that has an end. HEAD is told how it would begin."""
        if scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
            return
        mine = self._places.of(self._principal.id, Problem("too-many-streams"))
        exchange: RequestState = scope[EXCHANGE]
        with mine, self._places.one(Problem("streams-full")):
            exchange.goes_on()
            async with self._open_feed() as feed, aclosing(self._told(feed)) as parts:
                self.body_iterator = parts
                telling = self.stream_response(_in_time(send, self._pace.send))
                await _while_heard(telling, self.listen_for_disconnect(receive))

    async def _told(self, feed: Feed) -> Any:
        yield format_sse_event(retry=random.randint(*RETRY_MS))  # noqa: S311
        try:
            async for part in self._parts(feed):
                yield part
            reason = "access-ended"
        except Ended as ended:
            reason = ended.reason.value
        told = orjson.dumps(StreamEnd(reason=reason)).decode("ascii")
        yield format_sse_event(event="end", data_str=told, retry=random.randint(*RETRY_MS))  # noqa: S311

    async def _parts(self, feed: Feed) -> AsyncIterator[bytes]:
        """Until access has ended."""
        now, pace = asyncio.get_running_loop().time, self._pace
        asked = spoken = now()
        place = feed.place
        while True:
            frames = await feed.next(pace.look)
            if now() - asked >= pace.look:
                if not await self._holds():
                    return
                asked = now()
            if frames:
                for part in _joined(frames):
                    yield part
            elif now() - spoken >= pace.heartbeat:
                yield format_sse_event(comment="ping", id=feed.place if feed.place != place else None)
            else:
                continue
            spoken, place = now(), feed.place


def _joined(frames: Sequence[bytes]) -> Iterator[bytes]:
    """The events in parts of a size that goes well over a line."""
    part: list[bytes] = []
    size = 0
    for frame in frames:
        part.append(frame)
        size += len(frame)
        if size >= PART_BYTES:
            yield b"".join(part)
            part, size = [], 0
    if part:
        yield b"".join(part)


async def _while_heard(telling: Coroutine[Any, Any, None], going: Coroutine[Any, Any, None]) -> None:
    """Tells until all is told or the client has gone. A task group, as Starlette has one for this, keeps the error by
    which it ended the telling, which knows it: each stream would be left to a search for garbage.
    """
    tasks = asyncio.create_task(telling), asyncio.create_task(going)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            await tasks[0]
    finally:
        await cancel_and_wait(*tasks)


def _in_time(send: Send, seconds: float) -> Send:
    async def sending(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise ClientGone from None

    return sending
