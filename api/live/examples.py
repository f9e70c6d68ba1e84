"""An example of each message that is told as it happens: what was told on the story's day."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic import BaseModel

from api.examples.rest_of_the_day import whole_day
from api.examples.story import ADA, ORDER, ROOM, STAFF, logged
from api.http.event_stream import StreamEnd
from api.live.frames import AuthFrame, MessageFrame, PingFrame, framed
from api.live.told_frames import AckFrame, ErrorFrame, PongFrame, Told, WelcomeFrame, told
from api.queries.order_events import change_of
from domain.kernel.messages import Recorded
from domain.public_events import publish
from infra.eventsourcing.codec import dumps
from projections.order_summary import ORDER_SUMMARY

_SAID: Final[Sequence[BaseModel]] = (
    AuthFrame(type="auth", token="eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9…", after=2),  # noqa: S106
    MessageFrame(type="message", client_id="c-1", text="Green or black?"),
    PingFrame(type="ping"),
)
_HEARD: Final[Sequence[Told]] = (
    WelcomeFrame(room=ROOM, seq=2, members=[ADA, STAFF]),
    AckFrame(client_id="c-1", seq=3),
    ErrorFrame(code="room-not-open", client_id="c-2"),
    PongFrame(),
)


def examples() -> Mapping[str, Any]:
    """By the names of the messages in the AsyncAPI document."""
    return dict([*_events(), *_order(), *_frames()])


def _first() -> Iterable[Recorded]:
    """The first event of each type."""
    return {event.type: event for event in reversed(whole_day())}.values()


def _events() -> Iterator[tuple[str, Any]]:
    for event in _first():
        yield f"log.{event.type}", logged(event)
        if (public := publish(event)) is not None:
            yield f"webhook.{event.type}", orjson.loads(dumps(public))


def _order() -> Iterator[tuple[str, Any]]:
    """That an order was paid, as those hear who follow it."""
    placed, paid = [event for event in whole_day() if event.stream_id == ORDER][:2]
    order = ORDER_SUMMARY.project(ORDER_SUMMARY.project(None, placed), paid)
    yield "order.change", orjson.loads(change_of(order, paid))
    yield "stream.end", orjson.loads(orjson.dumps(StreamEnd(reason="access-ended")))


def _frames() -> Iterator[tuple[str, Any]]:
    for said in _SAID:
        frame = said.model_dump(mode="json")
        yield f"say.{frame['type']}", frame
    for frame in (*(orjson.loads(told(each)) for each in _HEARD), *frames().values()):
        yield f"frame.{frame['type']}", frame


def frames() -> Mapping[str, Any]:
    """What the events of a room are told as, by the event's name."""
    return {event.type: orjson.loads(framed(event)) for event in _first() if event.category == "room"}
