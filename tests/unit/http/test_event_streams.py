"""An event stream without a server: heartbeats, parts, and how it comes to an end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry, Gauge
from starlette.types import Message

from api.errors import Problem
from api.http.accept import prefers_events
from api.http.body_reader import ClientGone
from api.http.event_stream import PART_BYTES, EventStream, Feed, Pace, event
from api.http.places import Places
from api.http.principal import Principal
from api.http.request_context import EXCHANGE, RequestState
from api.http.request_metrics import RouteFigures
from infra.eventsourcing.subscriptions import Ended, Reason
from tests.support.interruption import Moment, at_each_wait, leftovers

pytestmark = pytest.mark.anyio

SOMEBODY = Principal(id=UUID(int=1), scopes=frozenset())
SCOPE = {"type": "http", "method": "GET", EXCHANGE: RequestState({}, lambda: "r-1")}
QUICK = Pace(heartbeat=0.002, look=0.001, send=0.05)


async def _nothing_comes() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


class Script:
    """A feed that tells what it is told to, and then has an end."""

    def __init__(self, *told: Sequence[bytes], reason: Reason = Reason.CLOSED) -> None:
        self._told = list(told)
        self._reason = reason
        self.place = "0"

    async def next(self, seconds: float) -> Sequence[bytes]:
        if not self._told:
            raise Ended(self._reason)
        await asyncio.sleep(seconds)
        return self._told.pop(0)


class Scene:
    def __init__(self, feed: Feed, *, holds: bool = True, most: int = 1, pace: Pace = QUICK) -> None:
        self.registry = CollectorRegistry()
        gauge = Gauge("weir_event_streams_open", "Event streams that are open.", registry=self.registry)
        self.streams = Places(gauge, most=most, each=1)
        self.holds = holds
        self.feed = feed
        self.pace = pace
        self.closed = False
        self.sent: list[Message] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Feed]:
        try:
            yield self.feed
        finally:
            self.closed = True

    async def still(self) -> bool:
        return self.holds

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def answer(self, send: Any = None, method: str = "GET") -> bytes:
        stream = EventStream(self.streams, SOMEBODY, self.still, self.opened, pace=self.pace)
        async with asyncio.timeout(5):
            await stream({**SCOPE, "method": method}, _nothing_comes, send or self.send)
        return b"".join(each.get("body", b"") for each in self.sent)

    @property
    def open(self) -> float | None:
        return self.registry.get_sample_value("weir_event_streams_open")


async def test_a_stream_is_no_request_in_progress_once_it_has_begun() -> None:
    scene, exchange = Scene(Script([])), RequestState({}, lambda: "r-1")
    exchange.figures = figures = RouteFigures()
    figures.in_progress = 1
    stream = EventStream(scene.streams, SOMEBODY, scene.still, scene.opened, pace=QUICK)
    await stream({**SCOPE, EXCHANGE: exchange}, _nothing_comes, scene.send)
    assert (figures.in_progress, exchange.open_ended) == (0, True)


async def test_events_are_told_as_the_standard_writes_them() -> None:
    scene = Scene(Script([event(b'{"a":1}', "1"), event(b'{"b":2}', "2")]))
    body = await scene.answer()
    begin, *events, end, nothing = body.split(b"\n\n")
    assert begin.startswith(b"retry: ")
    assert events == [b'data: {"a":1}\nid: 1', b'data: {"b":2}\nid: 2']
    assert end.startswith(b'event: end\ndata: {"reason":"closed"}\nretry: ')
    assert (nothing, scene.closed, scene.open) == (b"", True, 0)


async def test_silence_is_broken_by_a_comment_which_says_how_far_it_has_been_passed_over() -> None:
    script = Script(*[()] * 12)
    scene = Scene(script)
    body = await scene.answer()
    assert body.count(b": ping\n\n") >= 2
    assert b"id:" not in body
    again = Script(*[()] * 12)
    again.place = "0"

    class Moving(Script):
        async def next(self, seconds: float) -> Sequence[bytes]:
            frames = await super().next(seconds)
            self.place = "7"
            return frames

    body = await Scene(Moving(*[()] * 12)).answer()
    assert body.count(b": ping\nid: 7\n\n") == 1


async def test_whoever_takes_nothing_is_cut_off_and_makes_room() -> None:
    scene = Scene(Script(*[[event(b"{}", "1")]] * 3))

    async def stuck(message: Message) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    with pytest.raises(ClientGone):
        await scene.answer(stuck)
    assert (scene.closed, scene.open) == (True, 0)


async def test_what_is_sent_at_once_is_bounded() -> None:
    frame = event(b'"%b"' % (b"x" * 1_000), "1")
    scene = Scene(Script([frame] * 200))
    await scene.answer()
    assert max(len(each.get("body", b"")) for each in scene.sent) < PART_BYTES + len(frame)


async def test_it_ends_when_access_does_and_tells_nothing_more() -> None:
    scene = Scene(Script((), [event(b"{}", "1")], [event(b"{}", "2")]), holds=False)
    body = await scene.answer()
    assert b"id:" not in body
    assert b'{"reason":"access-ended"}' in body


async def test_who_asks_for_its_head_takes_no_place() -> None:
    scene = Scene(Script(), most=0)
    assert await scene.answer(method="HEAD") == b""
    with pytest.raises(Problem, match="streams-full"):
        await scene.answer()
    assert scene.sent[0]["status"] == 200


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/*", False),
        (b"application/json", False),
        (b"text/event-stream", True),
        (b"text/event-stream, */*", True),
        (b"Text/Event-Stream; charset=utf-8", True),
        (b"text/event-stream;q=0.1, application/json", False),
        (b"text/event-stream;q=0", False),
        (b"application/json, text/event-stream", True),
        (b"text/event-stream" + b" " * 500, False),
    ],
)
def test_a_stream_is_for_those_who_name_it(accept: bytes, events: bool) -> None:
    assert prefers_events(accept) is events


@pytest.mark.parametrize("moment", Moment)
async def test_one_that_is_cancelled_at_any_wait_gives_its_place_back_and_leaves_nothing_behind(moment: Moment) -> None:
    scenes: list[Scene] = []

    async def send(_: Message) -> None:
        await asyncio.sleep(0)

    async def answered(_: int) -> None:
        scenes.append(Scene(Script([event(b"1", "1")], [], [event(b"2", "2")])))
        await scenes[-1].answer(send)

    async with leftovers() as left:
        async for _ in at_each_wait(answered, moment):
            await left.none()
            assert [scene.open for scene in scenes] == [0] * len(scenes)
    assert all(scene.closed for scene in scenes[1:])
